#include "mgmt/shell/configure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "mgmt/shell/directory.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"
#include "mgmt/shell/quantity.h"
#include "mgmt/shell/suggest.h"

namespace sluice {
namespace {

// mgmt answers apply only when the dataplane has taken the snapshot, or it gave up waiting.
constexpr Milliseconds apply_timeout = {60'000};
// The first line of a request needs room beside the files.
constexpr std::size_t files_bytes_max = control_request_bytes_max - 4096;

// Appends all that `fd` gives; fails as soon as `bytes_max` is passed.
Result<void> read_all(int fd, const std::string& name, std::size_t bytes_max, std::string& into) {
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got == 0) return {};
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(fmt::format("{}: {}", name, strerror(errno)));
    into.append(buffer.data(), static_cast<std::size_t>(got));
    if (into.size() > bytes_max) {
      return fail(
          fmt::format("{}: the files together are larger than the {} KiB that one apply may have",
                      name, bytes_max / 1024));
    }
  }
}

Result<std::vector<std::string>> yaml_files_in(const std::string& directory) {
  DIR* listing = opendir(directory.c_str());
  if (listing == nullptr) return fail(fmt::format("{}: {}", directory, strerror(errno)));
  std::vector<std::string> files;
  while (const dirent* entry = readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.')) continue;
    if (name.ends_with(".yaml") || name.ends_with(".yml")) {
      files.push_back((directory.ends_with('/') ? directory : directory + "/") + std::string(name));
    }
  }
  closedir(listing);
  if (files.empty()) return fail(fmt::format("{}: there is no .yaml file in it", directory));
  std::sort(files.begin(), files.end());
  return files;
}

Result<void> append_file(const std::string& path, std::size_t bytes_max, std::string& payload) {
  const bool is_stdin = path == "-";
  const std::string name = is_stdin ? "<stdin>" : path;
  payload += fmt::format("# sluice-file: {}\n", name);
  Fd file;
  if (!is_stdin) {
    file = Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(fmt::format("{}: {}", path, strerror(errno)));
  }
  auto done = read_all(is_stdin ? STDIN_FILENO : file.get(), name, bytes_max, payload);
  if (done && !payload.ends_with('\n')) payload += '\n';
  return done;
}

std::string object_name(const Json& object) {
  const std::string space = text_of(object, "namespace");
  const std::string name = text_of(object, "name");
  return fmt::format("{} {}", text_of(object, "kind"),
                     space.empty() || space == "default" ? name : space + "/" + name);
}

// FILE:LINE:COLUMN: PATH: what is wrong, so that an editor can jump to it.
std::string error_text(const Json& error) {
  std::string place = text_of(error, "file");
  for (const char* part : {"line", "column"}) {
    const auto number = number_of(error, part).value_or(0);
    if (number > 0 && !place.empty()) place += fmt::format(":{}", number);
  }
  if (!place.empty()) place += ": ";
  const std::string path = text_of(error, "path");
  std::string text =
      fmt::format("{}{}{}{}\n", place, path, path.empty() ? "" : ": ", text_of(error, "message"));
  const std::string expected = text_of(error, "expected");
  if (!expected.empty() && text.find(expected) == std::string::npos) {
    text += fmt::format("  expected: {}\n", expected);
  }
  const std::string suggestion = text_of(error, "suggestion");
  if (!suggestion.empty() && text.find("did you mean") == std::string::npos) {
    text += fmt::format("  did you mean '{}'?\n", suggestion);
  }
  return text;
}

int report_configuration_errors(const Context& context, const AskError& error, int exit_code) {
  if (error.kind == AskError::Kind::no_answer) return report(context, error);
  if (context.wants_json) context.console.out(error.reply + "\n");
  const Json reply = Json::parse(error.reply, nullptr, false);
  const Json& errors = list_of(reply, "errors");
  for (const Json& item : errors) {
    const std::string text = error_text(item);
    std::string_view rest = text;
    while (!rest.empty()) {  // line by line: printable() would replace the newlines
      const std::size_t end = rest.find('\n');
      context.console.err(printable(rest.substr(0, end)) + "\n");
      rest.remove_prefix(end + 1);
    }
  }
  if (errors.empty()) {
    context.console.err(fmt::format("sluice: {}\n", printable(error.message)));
    return exit_code;
  }
  // The reply's own summary may tell the only error once more: counting is enough.
  context.console.err(fmt::format("sluice: {} error{}; nothing was changed\n", errors.size(),
                                  errors.size() == 1 ? "" : "s"));
  return exit_code;
}

struct ChangeCounts {
  std::size_t added = 0, changed = 0, removed = 0, unchanged = 0;
  bool is_none() const { return added + changed + removed == 0; }

  std::string text() const {
    std::vector<std::string> parts;
    const auto part = [&](std::size_t count, std::string_view what) {
      if (count > 0) parts.push_back(fmt::format("{} {}", count, what));
    };
    part(added, "added");
    part(changed, "changed");
    part(removed, "removed");
    part(unchanged, "unchanged");
    return parts.empty() ? "no object" : fmt::format("{}", fmt::join(parts, ", "));
  }
};

// Prints the changes, each with its lines if there are any, and counts them.
ChangeCounts print_changes(const Console& console, const Json& reply) {
  ChangeCounts counts;
  for (const Json& change : list_of(reply, "changes")) {
    const std::string action = text_of(change, "action");
    const std::string name = printable(object_name(change));
    if (action == "add") {
      ++counts.added;
      console.out(console.tinted(Console::Tint::added, "+ " + name) + "\n");
    } else if (action == "change") {
      ++counts.changed;
      console.out(console.tinted(Console::Tint::changed, "~ " + name) + "\n");
    } else if (action == "remove") {
      ++counts.removed;
      console.out(console.tinted(Console::Tint::removed, "- " + name) + "\n");
    } else {
      ++counts.unchanged;
      continue;
    }
    for (const std::string& text : texts_of(change, "lines")) {
      const std::string line = "    " + printable(text);
      const bool is_added = text.starts_with('+');
      const bool is_plain = !is_added && !text.starts_with('-');
      console.out((is_plain ? line
                            : console.tinted(
                                  is_added ? Console::Tint::added : Console::Tint::removed, line)) +
                  "\n");
    }
  }
  return counts;
}

void print_warnings(const Console& console, const Json& reply) {
  for (const std::string& text : texts_of(reply, "warnings")) {
    console.err(fmt::format("warning: {}\n", printable(text)));
  }
}

void print_consequences(const Console& console, const Json& reply) {
  const auto consequences = texts_of(reply, "consequences");
  if (!consequences.empty()) {
    console.out("Consequences:\n");
    for (const std::string& text : consequences) {
      console.out(fmt::format("  * {}\n", printable(text)));
    }
  }
  print_warnings(console, reply);
}

std::string generation_text(const Json& reply) {
  const auto generation = number_of(reply, "generation");
  return generation ? fmt::format("; generation {}", *generation) : std::string();
}

// The request of apply or diff, with the files in it; a usage error is reported.
Result<ControlRequest> request_with_files(const Invocation& invocation, const Context& context,
                                          std::string_view verb) {
  const auto paths = invocation.all("file");
  if (context.commands_come_from_stdin && std::count(paths.begin(), paths.end(), "-") > 0) {
    return fail("-f - is not possible here: the commands themselves come from stdin");
  }
  auto payload = read_configuration(paths, files_bytes_max);
  if (!payload) return tl::unexpected(payload.error());
  ControlRequest request;
  request.verb = verb;
  request.payload = std::move(*payload);
  if (invocation.has("replace")) request.arguments["replace"] = "1";
  return request;
}

// Names of the endpoints, for a suggestion; none when mgmt does not say.
std::vector<std::string> endpoint_names(const Peers& peers) {
  ControlRequest request;
  request.verb = "endpoints";
  std::vector<std::string> names;
  if (const auto reply = peers.ask(Process::mgmt, request)) {
    for (const Json& row : list_of(*reply, "endpoints")) names.push_back(text_of(row, "name"));
  }
  return names;
}

// Asks mgmt to drain or undrain; a refusal gets a suggestion when mgmt gave none.
tl::expected<Json, AskError> change_drain(const Context& context, const Invocation& invocation,
                                          std::string_view verb) {
  ControlRequest request;
  request.verb = verb;
  request.arguments["name"] = invocation.argument(0);
  if (invocation.has("namespace")) request.arguments["namespace"] = invocation.option("namespace");
  auto reply = context.peers.ask(Process::mgmt, request);
  if (!reply && reply.error().kind == AskError::Kind::refused &&
      reply.error().message.find("did you mean") == std::string::npos) {
    const auto names = endpoint_names(context.peers);
    const bool exists = std::count(names.begin(), names.end(), invocation.argument(0)) > 0;
    const std::string closest =
        exists ? std::string() : closest_name(invocation.argument(0), names);
    if (!closest.empty()) reply.error().message += fmt::format("; did you mean '{}'?", closest);
  }
  return reply;
}

// What becomes of the flows of an endpoint that is drained: "; it keeps its 60 open flows for 30s at most".
std::string kept_flows_text(const Json& reply) {
  const auto flows = number_of(reply, "flows_active");
  if (flows && *flows == 0) return "; it has no open flow";
  const auto left_ms = number_of(reply, "drain_left_ms");
  if (!flows && !left_ms) return {};
  std::string text = "; it keeps its ";
  text += !flows ? "open flows" : *flows == 1 ? "one open flow" : fmt::format("{} open flows", *flows);
  if (left_ms) text += fmt::format(" for {} at most (drain_timeout)", format_duration(*left_ms));
  return text;
}

}  // namespace

Result<std::string> read_configuration(std::span<const std::string> paths, std::size_t bytes_max) {
  std::string payload;
  for (const std::string& path : paths) {
    std::vector<std::string> files = {path};
    if (path != "-" && is_directory(path)) {
      auto inside = yaml_files_in(path);
      if (!inside) return tl::unexpected(inside.error());
      files = std::move(*inside);
    }
    for (const std::string& file : files) {
      auto done = append_file(file, bytes_max, payload);
      if (!done) return tl::unexpected(done.error());
    }
  }
  return payload;
}

int apply_files(Context& context, const Invocation& invocation) {
  auto request = request_with_files(invocation, context, "apply");
  if (!request) return report(context, exit_usage, request.error().message);
  const bool is_dry_run = invocation.has("dry-run");
  if (is_dry_run) request->arguments["dry_run"] = "1";
  const auto reply = context.peers.ask(Process::mgmt, *request, apply_timeout);
  if (!reply) return report_configuration_errors(context, reply.error(), exit_refused);
  const Console& console = context.console;
  if (context.wants_json) {
    console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const ChangeCounts counts = print_changes(console, *reply);
  print_consequences(console, *reply);
  if (counts.is_none()) {
    console.out(fmt::format("Nothing to change: {}{}\n", counts.text(), generation_text(*reply)));
  } else if (is_dry_run) {
    console.out(fmt::format("Would apply: {}. Nothing was changed.\n", counts.text()));
  } else {
    console.out(fmt::format("Applied: {}{}\n", counts.text(), generation_text(*reply)));
  }
  return exit_ok;
}

int diff_files(Context& context, const Invocation& invocation) {
  const auto request = request_with_files(invocation, context, "diff");
  if (!request) return report(context, exit_usage, request.error().message);
  const auto reply = context.peers.ask(Process::mgmt, *request, apply_timeout);
  if (!reply) return report_configuration_errors(context, reply.error(), exit_diff_refused);
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    const Json& changes = list_of(*reply, "changes");
    const bool differs = std::any_of(changes.begin(), changes.end(), [](const Json& change) {
      return text_of(change, "action") != "unchanged";
    });
    return differs ? exit_differs : exit_ok;
  }
  const ChangeCounts counts = print_changes(context.console, *reply);
  print_consequences(context.console, *reply);
  if (counts.is_none()) {
    context.console.out(fmt::format("No difference: {}\n", counts.text()));
    return exit_ok;
  }
  context.console.out(fmt::format("{}. Nothing was changed.\n", counts.text()));
  return exit_differs;
}

int delete_object(Context& context, const Invocation& invocation) {
  ControlRequest request;
  request.verb = "delete";
  request.arguments["kind"] = invocation.argument(0);
  request.arguments["name"] = invocation.argument(1);
  if (invocation.has("namespace")) request.arguments["namespace"] = invocation.option("namespace");
  const auto reply = context.peers.ask(Process::mgmt, request, apply_timeout);
  if (!reply) return report_configuration_errors(context, reply.error(), exit_refused);
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const ChangeCounts counts = print_changes(context.console, *reply);
  print_consequences(context.console, *reply);
  if (counts.is_none()) {
    context.console.out(fmt::format("Deleted {} {}{}\n", invocation.argument(0),
                                    invocation.argument(1), generation_text(*reply)));
  } else {
    context.console.out(fmt::format("Deleted: {}{}\n", counts.text(), generation_text(*reply)));
  }
  return exit_ok;
}

int drain_endpoint(Context& context, const Invocation& invocation) {
  const auto reply = change_drain(context, invocation, "drain");
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const std::string name = text_of(*reply, "name", invocation.argument(0));
  print_warnings(context.console, *reply);
  context.console.out(
      fmt::format("endpoint {} {}: it takes no new flows{}\n", printable(name),
                  flag_of(*reply, "changed") ? "is draining" : "was draining already", kept_flows_text(*reply)));
  return exit_ok;
}

int undrain_endpoint(Context& context, const Invocation& invocation) {
  const auto reply = change_drain(context, invocation, "undrain");
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const std::string name = text_of(*reply, "name", invocation.argument(0));
  print_warnings(context.console, *reply);
  context.console.out(
      fmt::format("endpoint {} {}\n", printable(name),
                  flag_of(*reply, "changed") ? "takes new flows again" : "was not draining"));
  return exit_ok;
}

}  // namespace sluice
