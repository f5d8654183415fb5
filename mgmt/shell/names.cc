#include "mgmt/shell/names.h"

#include <dirent.h>

#include <algorithm>
#include <map>
#include <array>
#include <utility>

#include "mgmt/shell/directory.h"
#include "mgmt/shell/json.h"

namespace sluice {
namespace {

// A key press must not hang on a frozen process.
constexpr Milliseconds completion_timeout = {500};

// For completion and `?` only: mgmt decides which kinds there are.
constexpr std::array<std::pair<const char*, const char*>, 8> object_kinds = {{
    {"virtual_host", "what clients reach: proxy type, routes, where it is advertised"},
    {"route", "which cluster a virtual host sends to"},
    {"cluster", "endpoints with one policy"},
    {"endpoint", "one address and port of a cluster"},
    {"advertise_policy", "address, protocol and port of a VIP"},
    {"healthcheck", "how endpoints are probed"},
    {"service_policy", "which sources a virtual host takes"},
    {"node", "this box: ports, addresses, routes, SNAT pools, lcores"},
}};

std::vector<Candidate> files_at(std::string_view partial, bool wants_directories_only) {
  const std::size_t slash = partial.rfind('/');
  const std::string folder(slash == std::string_view::npos ? "" : partial.substr(0, slash + 1));
  const std::string_view prefix =
      slash == std::string_view::npos ? partial : partial.substr(slash + 1);
  std::vector<Candidate> files;
  DIR* listing = opendir(folder.empty() ? "." : folder.c_str());
  if (listing == nullptr) return files;
  while (const dirent* entry = readdir(listing)) {
    const std::string name = entry->d_name;
    if (!name.starts_with(prefix)) continue;
    if (name == "." || name == ".." || (name[0] == '.' && !prefix.starts_with('.'))) continue;
    const std::string path = folder + name;
    if (is_directory(path)) {
      files.push_back({path + "/", "directory"});
    } else if (!wants_directories_only) {
      files.push_back({path, ""});
    }
  }
  closedir(listing);
  std::ranges::sort(files, {}, &Candidate::text);
  return files;
}

}  // namespace

std::vector<Candidate> Names::listed(Process process, const char* verb, const char* list,
                                     std::string_view hint, std::string_view name) const {
  ControlRequest request;
  request.verb = verb;
  std::vector<Candidate> names;
  const auto reply = peers_.ask(process, request, completion_timeout);
  if (!reply) return names;
  for (const Json& row : list_of(*reply, list)) {
    std::string help = text_of(row, hint);
    if (help.empty()) help = text_of(row, "state");
    names.push_back({text_of(row, name), std::move(help)});
  }
  return names;
}

std::vector<Candidate> Names::objects_of(const std::string& kind) const {
  ControlRequest request;
  request.verb = "config";
  std::vector<Candidate> names;
  const auto reply = peers_.ask(Process::mgmt, request, completion_timeout);
  if (!reply) return names;
  for (const Json& object : list_of(*reply, "objects")) {
    if (text_of(object, "kind") != kind) continue;
    const Json* metadata = find(object, "metadata");
    names.push_back({text_of(metadata != nullptr ? *metadata : object, "name"), ""});
  }
  return names;
}

// What may follow the last dot; what has fields of its own ends with one.
std::vector<Candidate> Names::fields_at(std::string_view partial) const {
  const std::size_t dot = partial.rfind('.');
  const std::string above(dot == std::string_view::npos ? "" : partial.substr(0, dot));
  ControlRequest request;
  request.verb = "explain";
  if (!above.empty()) request.arguments["path"] = above;
  const auto reply = peers_.ask(Process::mgmt, request, completion_timeout);
  if (!reply) return {};
  std::vector<Candidate> fields;
  for (const Json& field : list_of(*reply, "fields")) {
    const std::string name = text_of(field, "name");
    fields.push_back({(above.empty() ? name : above + "." + name) + (flag_of(field, "has_fields") ? "." : ""), text_of(field, "help")});
  }
  return fields;
}

// A name each, however many rows have it.
std::vector<Candidate> Names::vips_and_virtual_hosts() const {
  ControlRequest request;
  request.verb = "vips";
  std::map<std::string, Candidate> names;
  const auto reply = peers_.ask(Process::dataplane, request, completion_timeout);
  if (!reply) return {};
  for (const Json& row : list_of(*reply, "vips")) {
    for (const char* field : {"name", "virtual_host"}) {
      const std::string name = text_of(row, field);
      if (!name.empty()) names.try_emplace(name, Candidate{name, text_of(row, "address")});
    }
  }
  std::vector<Candidate> all;
  for (auto& [name, candidate] : names) all.push_back(std::move(candidate));
  return all;
}

// What may follow in a packet filter: values of the keyword before, where there are some to know, or
// the keywords.
std::vector<Candidate> Names::filter_words(const Invocation& so_far) const {
  const std::string before = so_far.arguments.empty() ? "" : so_far.arguments.back();
  if (before == "vip") return vips_and_virtual_hosts();
  if (before == "state") {
    return {{"opening", "TCP: no answer yet"},
            {"answered", "TCP: the endpoint has answered"},
            {"established", "TCP: both have; UDP: there was an answer"},
            {"one-way", "UDP: no answer yet"},
            {"closing", "TCP: after a FIN"},
            {"closed", "TCP: after both"},
            {"reset", "TCP: after a confirmed RST"},
            {"doubted", "TCP: after a RST that nobody has confirmed"},
            {"ended", "TCP: we end it"}};
  }
  if (before == "endpoint") return listed(Process::dataplane, "endpoints", "endpoints", "address");
  if (before == "port-name") return listed(Process::dataplane, "ports", "ports", "driver");
  if (before == "verdict") {
    auto names = listed(Process::dataplane, "drops", "drops", "help");
    std::erase_if(names, [](const Candidate& name) { return name.text.starts_with("own."); });  // no verdicts
    names.insert(names.begin(), {{"drop", "any drop"},
                                 {"reject", "whatever was answered with a reset or an ICMP error"},
                                 {"forward", "sent on"},
                                 {"reply", "answered by the balancer itself"},
                                 {"punt", "given to the kernel of this box"}});
    return names;
  }
  if (before == "proto") return {{"tcp", ""}, {"udp", ""}, {"icmp", ""}, {"icmpv6", ""}, {"arp", ""}};
  for (const char* keyword : {"host", "net", "src", "dst", "port"}) {
    if (before == keyword) return {};
  }
  return {{"host", "an IP address"},
          {"net", "a prefix, as in 10.2.0.0/16"},
          {"src", "an address or prefix as source"},
          {"dst", "an address or prefix as destination"},
          {"port", "a TCP or UDP port, or a range as in 8000-8100"},
          {"proto", "tcp, udp, icmp, icmpv6 or arp"},
          {"vip", "a VIP or virtual host by name"},
          {"endpoint", "an endpoint by name"},
          {"state", "of the flow: established, one-way, closing, ..."},
          {"port-name", "a port of the box by name"},
          {"verdict", "how the packet ended: drop, or a name of show drops"},
          {"any", "every packet"},
          {"and", "both"},
          {"or", "either"},
          {"not", "the opposite of what follows"}};
}

std::vector<Candidate> Names::names(ValueKind kind, std::string_view partial,
                                    const Invocation& so_far) const {
  switch (kind) {
    case ValueKind::endpoint: {
      auto names = listed(Process::mgmt, "endpoints", "endpoints", "health");
      if (names.empty()) names = listed(Process::dataplane, "endpoints", "endpoints", "state");
      return names;
    }
    case ValueKind::cluster:
      return listed(Process::mgmt, "clusters", "clusters", "algorithm");
    case ValueKind::virtual_host:
      return listed(Process::mgmt, "virtual-hosts", "virtual_hosts", "proxy");
    case ValueKind::vip:
      return vips_and_virtual_hosts();
    case ValueKind::port:
      return listed(Process::dataplane, "ports", "ports", "driver");
    case ValueKind::capture:
      return listed(Process::dataplane, "captures", "captures", "file", "id");
    case ValueKind::object_kind: {
      std::vector<Candidate> kinds;
      for (const auto& [name, help] : object_kinds) kinds.push_back({name, help});
      return kinds;
    }
    case ValueKind::object_name:
      return so_far.arguments.empty() ? std::vector<Candidate>()
                                      : objects_of(so_far.arguments.back());
    case ValueKind::field_path:
      return fields_at(partial);
    case ValueKind::protocol:
      return {{"tcp", ""}, {"udp", ""}};
    case ValueKind::filter_word:
      return filter_words(so_far);
    case ValueKind::capture_points:
      return {{"received", "as they came in"}, {"sent", "as they leave"}, {"both", ""}};
    case ValueKind::file:
      return files_at(partial, false);
    case ValueKind::directory:
      return files_at(partial, true);
    case ValueKind::command_word: {
      std::vector<Candidate> words;
      for (const Command& command : commands_) {
        // The words of help's arguments so far select the commands; the next word is offered.
        std::string_view rest = command.words;
        bool is_match = true;
        for (const std::string& given : so_far.arguments) {
          const std::string_view word = rest.substr(0, rest.find(' '));
          is_match = is_match && word == given;
          rest.remove_prefix(std::min(rest.size(), word.size() + 1));
        }
        const std::string word(rest.substr(0, rest.find(' ')));
        const auto is_same = [&](const Candidate& c) { return c.text == word; };
        if (is_match && !word.empty() && std::ranges::none_of(words, is_same)) {
          words.push_back({word, word == rest ? std::string(command.help) : std::string()});
        }
      }
      return words;
    }
    case ValueKind::none:
    case ValueKind::text:
    case ValueKind::count:
    case ValueKind::seconds:
    case ValueKind::address:
      return {};
  }
  return {};
}

}  // namespace sluice
