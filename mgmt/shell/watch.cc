#include "mgmt/shell/watch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"
#include "mgmt/shell/quantity.h"
#include "mgmt/shell/table.h"

namespace sluice {
namespace {

constexpr Milliseconds poll_interval = {50};

bool is_number(const std::string& word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

std::string walk_text(const Json& walk, std::uint64_t number) {
  const std::string time = text_of(walk, "time");
  std::string text =
      fmt::format("packet {}  {}  lcore {}\n", number, printable(time), text_of(walk, "lcore"));
  const auto line = [&](std::string_view title, const std::string& content) {
    if (!content.empty()) text += fmt::format("  {:<9}  {}\n", title, printable(content));
  };
  for (const Json& step : list_of(walk, "stages")) {
    line(text_of(step, "stage"), text_of(step, "text"));
  }
  line("before", text_of(walk, "before"));
  line("after", text_of(walk, "after"));
  if (const Json* flow = find(walk, "flow")) {
    line("flow", fmt::format("{} > {} === {} > {}", text_of(*flow, "client"), text_of(*flow, "vip"),
                             text_of(*flow, "snat"), text_of(*flow, "endpoint")));
  }
  return text + fmt::format("  {}: {}\n", printable(text_of(walk, "verdict")),
                            printable(text_of(walk, "help")));
}

ControlRequest request_for(const char* verb, const std::string& id) {
  ControlRequest request;
  request.verb = verb;
  request.arguments["id"] = id;
  return request;
}

}  // namespace

TraceWords read_trace_words(std::span<const std::string> words) {
  TraceWords result;
  if (!words.empty() && is_number(words.back()) &&
      (words.size() == 1 || words[words.size() - 2] != "port")) {
    result.count = words.back();
    words = words.first(words.size() - 1);
  }
  result.filter = fmt::format("{}", fmt::join(words, " "));
  return result;
}

int trace_add(Context& context, const Invocation& invocation) {
  const TraceWords words = read_trace_words(invocation.arguments);
  ControlRequest request;
  request.verb = "trace-add";
  request.arguments["count"] = words.count;
  request.payload = words.filter;
  const auto added = context.peers.ask(Process::dataplane, request);
  if (!added) return report(context, added.error());
  const std::string id = text_of(*added, "id");
  const double seconds = strtod(invocation.option("wait", "30").c_str(), nullptr);
  const auto patience_ms = static_cast<std::uint64_t>(seconds * 1000);

  Json walks = Json::array();
  std::uint64_t count = 0, lost = 0;
  bool is_done = false, is_interrupted = false, has_waited_enough = false;
  for (std::uint64_t waited_ms = 0; !is_done && !is_interrupted;) {
    const auto reply = context.peers.ask(Process::dataplane, request_for("trace-read", id));
    if (!reply) return report(context, reply.error());
    for (const Json& walk : list_of(*reply, "walks")) {
      ++count;
      if (context.wants_json)
        walks.push_back(walk);
      else
        context.console.out((count > 1 ? "\n" : "") + walk_text(walk, count));
    }
    lost = number_of(*reply, "lost").value_or(0);
    is_done = flag_of(*reply, "is_done");
    has_waited_enough = !is_done && waited_ms >= patience_ms;
    if (is_done || has_waited_enough) break;
    is_interrupted = !context.pause(poll_interval);
    waited_ms += poll_interval.count;
  }
  // Also after its last packet: nothing of it shall stay. When it is gone already, so much the
  // better.
  (void)context.peers.ask(Process::dataplane, request_for("trace-remove", id));
  if (context.wants_json) {
    context.console.out(dump(Json{{"ok", true}, {"walks", walks}, {"lost", lost}}) + "\n");
  }
  if (lost > 0) {
    context.console.err(fmt::format("note: {} more packets were too many to note\n", lost));
  }
  const std::uint64_t wanted = strtoull(words.count.c_str(), nullptr, 10);
  if (count > 0 && count < wanted && lost == 0 && has_waited_enough) {
    context.console.err(fmt::format("note: {} of {} packets; no more matched within {} s\n", count, wanted,
                                    invocation.option("wait", "30")));
  }
  if (count > 0 || is_interrupted) return exit_ok;
  context.console.err(
      fmt::format("sluice: no packet matched within {} s\n", invocation.option("wait", "30")));
  return exit_refused;
}

int capture_start(Context& context, const Invocation& invocation) {
  ControlRequest request;
  request.verb = "capture-start";
  std::error_code ignored;
  request.arguments["file"] =
      std::filesystem::absolute(invocation.argument(0), ignored).lexically_normal().string();
  for (const char* option : {"count", "snap", "seconds", "at"}) {
    if (invocation.has(option)) request.arguments[option] = invocation.option(option);
  }
  const auto filter = std::span(invocation.arguments).subspan(1);
  request.payload = fmt::format("{}", fmt::join(filter, " "));
  const auto reply = context.peers.ask(Process::dataplane, request);
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const std::string id = text_of(*reply, "id");
  context.console.out(fmt::format("capture {} writes to {}; end it with: capture stop {}\n", id,
                                  printable(text_of(*reply, "file")), id));
  return exit_ok;
}

int capture_stop(Context& context, const Invocation& invocation) {
  const auto reply =
      context.peers.ask(Process::dataplane, request_for("capture-stop", invocation.argument(0)));
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const auto packets = number_of(*reply, "packets").value_or(0);
  context.console.out(fmt::format("{}: {} packet{}, {}\n", printable(text_of(*reply, "file")),
                                  packets, packets == 1 ? "" : "s",
                                  format_bytes(number_of(*reply, "bytes").value_or(0))));
  if (const auto lost = number_of(*reply, "lost").value_or(0); lost > 0) {
    context.console.err(fmt::format("note: {} more packets were too many to note\n", lost));
  }
  return exit_ok;
}

int show_captures(Context& context, const Invocation&) {
  ControlRequest request;
  request.verb = "captures";
  const auto reply = context.peers.ask(Process::dataplane, request);
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const Json& rows = list_of(*reply, "captures");
  if (rows.empty()) {
    context.console.out("There is no capture. Begin one with: capture start FILE FILTER\n");
    return exit_ok;
  }
  Table table({{"ID", Align::right},
               {"STATE"},
               {"PACKETS", Align::right},
               {"LOST", Align::right},
               {"SIZE", Align::right},
               {"AT", Align::left, 2},
               {"FILTER", Align::left, 0, false, true},
               {"FILE"}});
  for (const Json& row : rows) {
    const std::string reason = text_of(row, "reason");
    const std::string filter = text_of(row, "filter");
    table.add({text_of(row, "id"), text_of(row, "state") + (reason.empty() ? "" : ": " + reason),
               fmt::format("{} of {}", text_of(row, "packets"), text_of(row, "count")),
               text_of(row, "lost"), format_bytes(number_of(row, "bytes").value_or(0)),
               text_of(row, "at"), filter.empty() ? "any" : filter, text_of(row, "file")});
  }
  context.console.out(table.text(context.console.style()));
  return exit_ok;
}

}  // namespace sluice
