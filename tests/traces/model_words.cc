// The statements of a trace that describe its world, as ../README.md and model.h list them.
#include "tests/traces/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace sluice::trace {
namespace {

// The words up to the end of a simple statement; `at` moves behind it.
Words take_statement(const Words& words, std::size_t& at) {
  Words taken;
  while (at < words.size() && words[at] != ";" && words[at] != "}" && words[at] != "{") taken.push_back(words[at++]);
  if (at < words.size() && words[at] == ";") ++at;
  return taken;
}

std::optional<std::uint64_t> number_of(const std::string& word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

bool split_endpoint(const std::string& text, IpAddress& address, std::uint16_t& port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const auto parsed = IpAddress::parse(host);
  const auto number = number_of(text.substr(colon + 1));
  if (!parsed || !number || *number > 65'535) return false;
  address = *parsed;
  port = static_cast<std::uint16_t>(*number);
  return true;
}

// "80", "80,8080-8191", "*"
std::vector<PortRange> parse_ports(const std::string& text) {
  if (text == "*") return {all_ports};
  std::vector<PortRange> ports;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    const std::size_t dash = std::min(item.find('-'), item.size());
    const auto first = number_of(item.substr(0, dash));
    const auto last = dash == item.size() ? first : number_of(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last > 65'535) return {};
    ports.push_back({static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)});
    at = comma + 1;
  }
  return ports;
}

bool split_vip(const std::string& text, VipModel& vip) {
  const std::size_t slash = text.rfind('/');
  const std::size_t colon = text.rfind(':', slash);
  if (slash == std::string::npos || colon == std::string::npos) return false;
  std::string where = text.substr(0, colon);
  if (where.size() > 2 && where.front() == '[') where = where.substr(1, where.size() - 2);
  const auto prefix = IpPrefix::parse(where);
  vip.ports = parse_ports(text.substr(colon + 1, slash - colon - 1));
  vip.protocol = text.substr(slash + 1) == "udp" ? 17 : 6;
  if (prefix) vip.where = *prefix;
  return prefix && !vip.ports.empty();
}

template <class Item>
Item* find_named(std::vector<Item>& items, const std::string& name) {
  const auto found = std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.name == name; });
  return found == items.end() ? nullptr : &*found;
}

std::string word_at(const Words& line, std::size_t i) { return i < line.size() ? line[i] : std::string(); }

std::uint32_t small_number_of(const std::string& word, std::uint32_t otherwise = 0) {
  return static_cast<std::uint32_t>(number_of(word).value_or(otherwise));
}

// What stands behind the name of a cluster or a VIP: one statement on the same line, or several in braces.
template <class Set>
Result<void> set_all(const Words& head, const Words& words, std::size_t& at, Set set) {
  if (head.size() > 2) return set(Words(head.begin() + 2, head.end()));
  if (at >= words.size() || words[at] != "{") return {};
  for (++at; at < words.size() && words[at] != "}";) {
    if (auto done = set(take_statement(words, at)); !done) return done;
  }
  if (at >= words.size()) return fail(fmt::format("{}: a '}}' is missing", head[0]));
  ++at;
  return {};
}

// A word that says it all.
constexpr std::pair<std::string_view, void (*)(VipModel&)> vip_flags[] = {
    {"cookies", [](VipModel& vip) { vip.syn_cookies = SynCookies::always; }},
    {"one_packet", [](VipModel& vip) { vip.is_one_packet = true; }},
    {"reset_on_expiry", [](VipModel& vip) { vip.is_reset_on_expiry = true; }},
    {"pending", [](VipModel& vip) { vip.state = VipState::pending; }},
    {"ready", [](VipModel& vip) { vip.state = VipState::ready; }},
};

Result<void> add_source(VipModel& vip, const std::string& text, std::uint8_t action) {
  const auto prefix = IpPrefix::parse(text);
  if (!prefix) return fail(fmt::format("vip: '{}' is no prefix", text));
  vip.sources.push_back({*prefix, action});
  vip.has_limits = true;
  return {};
}

// A word with a value behind it.
constexpr std::pair<std::string_view, Result<void> (*)(VipModel&, const std::string&)> vip_values[] = {
    {"cluster",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.cluster = value;
       return {};
     }},
    {"default",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.default_cluster = value;
       return {};
     }},
    {"cookies_from",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.syn_cookies = SynCookies::on_threshold;
       vip.limits.cookie_threshold = small_number_of(value);
       vip.has_limits = true;
       return {};
     }},
    {"quic",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       const std::size_t slash = std::min(value.find('/'), value.size());
       vip.quic.rotation = static_cast<std::uint8_t>(small_number_of(value.substr(0, slash)));
       vip.quic.server_id_bytes = slash == value.size() ? std::uint8_t{0} : static_cast<std::uint8_t>(small_number_of(value.substr(slash + 1)));
       return {};
     }},
    {"hello",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.hello_ms = static_cast<std::uint32_t>(parse_duration_ms(value).value_or(0));
       return {};
     }},
    {"idle",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       const auto ms = parse_duration_ms(value);
       if (!ms) return fail("vip: idle wants a duration");
       vip.idle_ms = static_cast<std::uint32_t>(*ms);
       return {};
     }},
    {"mss",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.mss_max = static_cast<std::uint16_t>(small_number_of(value));
       return {};
     }},
    {"flows_max",
     [](VipModel& vip, const std::string& value) -> Result<void> {
       vip.limits.flows_max = small_number_of(value);
       vip.has_limits = true;
       return {};
     }},
    {"allow", [](VipModel& vip, const std::string& value) { return add_source(vip, value, source_action::allow); }},
    {"deny", [](VipModel& vip, const std::string& value) { return add_source(vip, value, source_action::deny); }},
};

Result<void> set_proxies(VipModel& vip, const Words& statement) {
  vip.proxies.clear();
  for (std::size_t i = 1; i < statement.size(); ++i) {
    const auto prefix = IpPrefix::parse(statement[i]);
    if (!prefix) return fail(fmt::format("vip: '{}' is no prefix", statement[i]));
    vip.proxies.push_back({*prefix, 1});
  }
  return {};
}

void set_rate(VipModel& vip, const std::string& what, std::uint64_t per_second) {
  RateLimitRow& row = what == "new"          ? vip.limits.new_flows
                      : what == "source_new" ? vip.limits.source_new_flows
                      : what == "packets"    ? vip.limits.packets
                                             : vip.limits.source_packets;
  row = per_second == 0 ? RateLimitRow{} : RateLimitRow{1'000'000'000 / per_second, 1'000'000'000};
  vip.has_limits = true;
}

Result<void> set_vip(VipModel& vip, const Words& statement) {
  const std::string keyword = word_at(statement, 0);
  if (statement.size() >= 3 && (keyword == "name" || keyword == "matches")) {
    (keyword == "name" ? vip.names : vip.patterns).push_back({statement[1], statement[2], word_at(statement, 3)});
    return {};
  }
  if (keyword == "proxied") return set_proxies(vip, statement);
  const auto is_word = [](const std::string& word) { return [&](const auto& row) { return row.first == word; }; };
  for (std::size_t i = 0; i < statement.size(); ++i) {
    const std::string& word = statement[i];
    const auto* flag = std::find_if(std::begin(vip_flags), std::end(vip_flags), is_word(word));
    const auto* value = std::find_if(std::begin(vip_values), std::end(vip_values), is_word(word));
    if (flag != std::end(vip_flags)) {
      flag->second(vip);
    } else if (value != std::end(vip_values) && i + 1 < statement.size()) {
      if (auto done = value->second(vip, statement[++i]); !done) return done;
    } else if (word == "rate" && i + 2 < statement.size()) {
      set_rate(vip, statement[i + 1], number_of(statement[i + 2]).value_or(0));
      i += 2;
    } else {
      return fail(fmt::format("vip: '{}'?", word));
    }
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> parse_duration_ms(const std::string& word) {
  const std::size_t digits = word.find_first_not_of("0123456789");
  const auto value = number_of(word.substr(0, digits));
  if (!value || digits == std::string::npos) return std::nullopt;
  const std::string unit = word.substr(digits);
  if (unit == "ms") return *value;
  if (unit == "s") return *value * 1'000;
  if (unit == "m") return *value * 60'000;
  if (unit == "h") return *value * 3'600'000;
  return std::nullopt;
}

Result<void> Model::set_endpoint(ClusterModel& cluster, const std::string& text, const Words& rest) {
  EndpointModel endpoint;
  endpoint.text = text;
  if (!split_endpoint(text, endpoint.address, endpoint.port)) return fail(fmt::format("'{}' is no ADDRESS:PORT", text));
  auto found = std::find_if(cluster.endpoints.begin(), cluster.endpoints.end(),
                            [&](const EndpointModel& known) { return known.text == text; });
  if (found == cluster.endpoints.end()) {
    const auto next_id = static_cast<std::uint32_t>(endpoint_ids_.size() + 1);
    endpoint.id = endpoint_ids_.try_emplace(cluster.name + " " + text, next_id).first->second;
    found = cluster.endpoints.insert(cluster.endpoints.end(), endpoint);
  }
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const std::string& word = rest[i];
    if (word == "up") found->state = EndpointState::up;
    else if (word == "down") found->state = EndpointState::down;
    else if (word == "drain") found->state = EndpointState::draining;
    else if (word == "unknown") found->state = EndpointState::unknown;
    else if (word == "ended") found->state = EndpointState::ended;
    else if (word == "weight" && i + 1 < rest.size()) found->weight = static_cast<std::uint16_t>(*number_of(rest[++i]));
    else if (word == "server_id" && i + 1 < rest.size()) {
      const std::string& digits = rest[++i];
      found->quic_server_id.clear();
      for (std::size_t at = 0; at + 2 <= digits.size(); at += 2) {
        found->quic_server_id += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
      }
    } else if (word == "remove") {
      cluster.endpoints.erase(found);
      return {};
    } else if (word != "add") {
      return fail(fmt::format("endpoint: '{}'?", word));
    }
  }
  return {};
}

Result<void> Model::set_cluster(ClusterModel& cluster, const Words& statement) {
  if (statement.size() < 2) return fail(fmt::format("cluster {}: an empty or short statement", cluster.name));
  if (statement[0] == "endpoint") {
    return set_endpoint(cluster, statement[1], {statement.begin() + 2, statement.end()});
  }
  if (statement[0] == "forwarding") {
    cluster.forwarding = statement[1] == "nat"        ? Forwarding::nat
                          : statement[1] == "splice"   ? Forwarding::splice
                          : statement[1] == "dsr_l2"   ? Forwarding::dsr_l2
                          : statement[1] == "dsr_ipip" ? Forwarding::dsr_ipip
                          : statement[1] == "dsr_gue"  ? Forwarding::dsr_gue
                                                       : Forwarding::full_nat;
  } else if (statement[0] == "proxy") {
    cluster.proxy_protocol = statement[1] == "v1" ? ProxyProtocol::version_1 : ProxyProtocol::version_2;
  } else if (statement[0] == "choice") {
    cluster.choice = statement[1] == "hash"     ? Choice::hash
                      : statement[1] == "random" ? Choice::random
                      : statement[1] == "least"  ? Choice::least
                                                 : Choice::rotate;
  } else if (statement[0] == "snat") {
    cluster.snat = statement[1];
  } else if (statement[0] == "persist") {
    const std::size_t slash = statement[1].find('/');
    const auto v4 = number_of(statement[1].substr(0, slash));
    const auto v6 = number_of(statement[1].substr(slash + 1));
    if (slash == std::string::npos || !v4 || !v6) return fail("cluster: persist wants BITS/BITS");
    cluster.source_length_v4 = static_cast<std::uint8_t>(*v4 + 96);
    cluster.source_length_v6 = static_cast<std::uint8_t>(*v6);
  } else if (statement[0] == "lb_port") {
    cluster.is_lb_port = statement[1] == "on";
  } else if (statement[0] == "endpoint_flows_max") {
    cluster.endpoint_flows_max = static_cast<std::uint32_t>(number_of(statement[1]).value_or(0));
  } else {
    return fail(fmt::format("cluster {}: '{}'?", cluster.name, statement[0]));
  }
  return {};
}

Result<void> Model::change_cluster(const Words& words, std::size_t& at) {
  const Words head = take_statement(words, at);
  if (head.size() < 2) return fail("cluster: a name is needed");
  ClusterModel* cluster = find_named(clusters_, head[1]);
  if (cluster == nullptr) {
    clusters_.push_back({});
    cluster = &clusters_.back();
    cluster->name = head[1];
  }
  return set_all(head, words, at, [&](const Words& statement) { return set_cluster(*cluster, statement); });
}

Result<void> Model::change_vip(const Words& words, std::size_t& at) {
  const Words head = take_statement(words, at);
  if (head.size() < 2) return fail("vip: ADDRESS:PORT/PROTOCOL is needed");
  const std::string& text = head[1];
  auto found = std::find_if(vips_.begin(), vips_.end(), [&](const VipModel& vip) { return vip.text == text; });
  if (head.size() > 2 && head[2] == "remove") {
    if (found == vips_.end()) return fail(fmt::format("vip {} is not there", text));
    vips_.erase(found);
    return {};
  }
  if (found == vips_.end()) {
    VipModel vip;
    vip.text = text;
    if (!split_vip(text, vip)) return fail(fmt::format("'{}' is no ADDRESS:PORT/PROTOCOL", text));
    vip.idle_ms = vip.protocol == 17 ? 60'000 : 3'600'000;
    vip.id = vip_ids_.try_emplace(text, static_cast<std::uint32_t>(vip_ids_.size() + 1)).first->second;
    found = vips_.insert(vips_.end(), vip);
  }
  return set_all(head, words, at, [&](const Words& statement) { return set_vip(*found, statement); });
}

Result<void> Model::change_port(const Words& line) {
  is_usual_ports_ = false;
  std::erase_if(ports_, [&](const PortModel& port) { return port.name == word_at(line, 1); });
  PortModel port;
  port.name = word_at(line, 1);
  for (std::size_t i = 2; i < line.size(); ++i) {
    if (line[i] == "mtu") port.mtu = static_cast<std::uint16_t>(small_number_of(word_at(line, ++i)));
    else if (line[i] == "vlan") {
      port.vlan = static_cast<std::uint16_t>(small_number_of(word_at(line, ++i)));
      port.parent = word_at(line, i += 2);
    } else if (line[i] == "rss") port.is_rss_stable = word_at(line, ++i) != "unstable";
    else if (IpPrefix::parse(line[i])) port.addresses.push_back(line[i]);
    else return fail(fmt::format("port: '{}'?", line[i]));
  }
  ports_.push_back(port);
  return {};
}

Result<void> Model::change_route(const Words& line) {
  is_usual_routes_ = false;
  if (word_at(line, 1) == "none") return {};
  const auto prefix = IpPrefix::parse(word_at(line, 1));
  if (!prefix) return fail(fmt::format("route: '{}' is no prefix", word_at(line, 1)));
  RouteModel route{*prefix, {}, ""};
  if (word_at(line, 2) == "via") route.next_hop = IpAddress::parse(word_at(line, 3)).value_or(IpAddress{});
  else route.port = word_at(line, 3);
  routes_.push_back(route);
  return {};
}

Result<void> Model::change_snat(const Words& line) {
  is_usual_snats_ = false;
  SnatModel snat;
  snat.name = word_at(line, 1);
  for (std::size_t i = 2; i < line.size(); ++i) {
    if (line[i] == "ports") {
      const std::string range = word_at(line, ++i);
      const std::size_t dash = range.find('-');
      snat.port_first = static_cast<std::uint16_t>(number_of(range.substr(0, dash)).value_or(0));
      snat.port_last = static_cast<std::uint16_t>(number_of(range.substr(dash + 1)).value_or(0));
    } else if (const auto address = IpAddress::parse(line[i])) {
      snat.addresses.push_back(*address);
    } else {
      return fail(fmt::format("snat: '{}'?", line[i]));
    }
  }
  std::erase_if(snats_, [&](const SnatModel& known) { return known.name == snat.name; });
  snats_.push_back(snat);
  return {};
}

Result<void> Model::change_timeouts(const Words& line) {
  for (std::size_t i = 1; i + 1 < line.size(); i += 2) {
    const auto ms = parse_duration_ms(line[i + 1]);
    if (!ms) return fail(fmt::format("timeouts: '{}' is no duration", line[i + 1]));
    const auto value = static_cast<std::uint32_t>(*ms);
    if (line[i] == "opening") opening_ms_ = value;
    else if (line[i] == "closing") closing_ms_ = value;
    else if (line[i] == "closed") closed_ms_ = value;
    else if (line[i] == "reset") reset_ms_ = value;
    else return fail(fmt::format("timeouts: '{}'?", line[i]));
  }
  return {};
}

Result<void> Model::change_exception(const Words& line) {
  has_exception_port = word_at(line, 1) == "on";
  kernel_addresses.clear();
  for (std::size_t i = 2; i < line.size(); ++i) {
    const auto address = IpAddress::parse(line[i]);
    if (!address) return fail(fmt::format("exception: '{}' is no address", line[i]));
    kernel_addresses.push_back(*address);
  }
  return {};
}

Result<void> Model::change_blocklist(const Words& line) {
  const auto prefix = IpPrefix::parse(word_at(line, 1));
  if (!prefix && word_at(line, 1) != "none") return fail(fmt::format("block: '{}' is no prefix", word_at(line, 1)));
  if (prefix) blocked.push_back(*prefix);
  else blocked.clear();
  return {};
}

// Statements of one line: `line[0]` is its keyword.
Result<void> Model::change_node(const Words& line) {
  const std::string& keyword = line[0];
  static constexpr std::pair<std::string_view, Result<void> (Model::*)(const Words&)> longer[] = {
      {"port", &Model::change_port},           {"route", &Model::change_route},         {"snat", &Model::change_snat},
      {"timeouts", &Model::change_timeouts},   {"block", &Model::change_blocklist},     {"exception", &Model::change_exception}};
  for (const auto& [known, change] : longer) {
    if (keyword == known) return (this->*change)(line);
  }
  const std::string value = word_at(line, 1);
  if (keyword == "lcores") {
    lcore_count = small_number_of(value, 1);
  } else if (keyword == "replies") {
    replies_by_hash = value == "hash";
  } else if (keyword == "flows") {
    flow_capacity = number_of(value).value_or(1);
    splice_capacity = std::min(splice_capacity, flow_capacity);
  } else if (keyword == "splices") {
    splice_capacity = number_of(value).value_or(1);
  } else if (keyword == "neighbors") {
    answers_for_neighbors = value != "manual";
  } else if (keyword == "icmp") {
    for (std::size_t i = 1; i + 1 < line.size(); i += 2) (line[i] == "errors" ? icmp_errors_ : icmp_echoes_) = small_number_of(line[i + 1]);
  } else if (keyword == "fragments") {
    for (std::size_t i = 1; i + 1 < line.size(); i += 2) {
      (line[i] == "datagrams" ? fragment_datagrams_ : fragment_held_bytes_) = small_number_of(line[i + 1]);
    }
  } else {
    return fail(fmt::format("'{}' is no statement of a world", keyword));
  }
  return {};
}

Result<void> Model::change(const Words& words) {
  for (std::size_t at = 0; at < words.size();) {
    Result<void> done;
    if (words[at] == ";") {
      ++at;
    } else if (words[at] == "cluster") {
      done = change_cluster(words, at);
    } else if (words[at] == "vip") {
      done = change_vip(words, at);
    } else {
      const Words line = take_statement(words, at);
      if (line.empty()) return fail(fmt::format("'{}' is out of place", words[at]));
      done = change_node(line);
      const bool is_brace_next = at < words.size() && (words[at] == "{" || words[at] == "}");
      if (done && is_brace_next) return fail(fmt::format("'{}' is out of place", words[at]));
    }
    if (!done) return done;
  }
  return {};
}

}  // namespace sluice::trace
