#include "mgmt/shell/drain.h"

#include <fmt/format.h>

#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"
#include "mgmt/shell/quantity.h"

namespace sluice {
namespace {

constexpr Milliseconds look_interval = {200};
constexpr std::uint64_t near_deadline_ms = 3 * look_interval.count;
constexpr const char* deadline_usual = "60";

tl::expected<Json, AskError> ask_to_shut_down(const Context& context, const char* mode, const std::string& deadline) {
  ControlRequest request;
  request.verb = "shutdown";
  request.arguments["mode"] = mode;
  if (!deadline.empty()) request.arguments["deadline_s"] = deadline;
  return context.peers.ask(Process::dataplane, request);
}

std::string count_text(std::uint64_t flows) { return fmt::format("{} flow{}", format_count(flows), flows == 1 ? "" : "s"); }

// What is left, over and over on one line of a terminal.
class Progress {
 public:
  explicit Progress(const Console& console) : console_(console) {}
  ~Progress() {
    if (is_shown_) console_.err("\n");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::uint64_t flows, std::uint64_t ends_in_ms) {
    if (!console_.is_terminal()) return;
    console_.err(fmt::format("\r{} left, {} at most \033[K", count_text(flows), format_duration(ends_in_ms)));
    is_shown_ = true;
  }

 private:
  const Console& console_;
  bool is_shown_ = false;
};

}  // namespace

int drain_dataplane(Context& context, const Invocation& invocation) {
  const std::string deadline = invocation.option("deadline", deadline_usual);
  auto status = ask_to_shut_down(context, "graceful", deadline);
  if (!status) return report(context, status.error());
  std::uint64_t flows = 0, ends_in_ms = 0;
  const auto is_leaving = [&] {
    const Json* leaving = find(*status, "leaving");
    if (leaving == nullptr) return false;
    flows = number_of(*leaving, "flows").value_or(0);
    ends_in_ms = number_of(*leaving, "ends_in_ms").value_or(0);
    return true;
  };
  (void)is_leaving();
  if (!context.wants_json) {
    context.console.out(flows == 0 ? "The dataplane takes no new flows. It has none, and ends.\n"
                                   : fmt::format("The dataplane takes no new flows. It ends when the {} that it has {} over, in {} s at the latest.\n",
                                                 count_text(flows), flows == 1 ? "is" : "are", deadline));
  }
  bool is_interrupted = false;
  {
    Progress progress(context.console);
    ControlRequest request;
    request.verb = "status";
    while (status && !is_interrupted && is_leaving()) {
      progress.show(flows, ends_in_ms);
      is_interrupted = !context.pause(look_interval);
      if (!is_interrupted) status = context.peers.ask(Process::dataplane, request);
    }
  }
  if (is_interrupted) {
    context.console.err("note: the draining goes on; call it off with: undrain dataplane\n");
    return exit_ok;
  }
  if (status) return report(context, exit_refused, "the draining was called off, or another dataplane runs by now");
  if (ends_in_ms > near_deadline_ms) flows = 0;  // it ended earlier than it had to
  if (context.wants_json) {
    context.console.out(dump(Json{{"ok", true}, {"flows_left", flows}}) + "\n");
  } else {
    context.console.out(flows == 0 ? "The dataplane has ended; no flow was left.\n"
                                   : fmt::format("The dataplane has ended at its deadline; {} were left.\n", count_text(flows)));
  }
  return exit_ok;
}

int undrain_dataplane(Context& context, const Invocation&) {
  const auto reply = ask_to_shut_down(context, "cancel", "");
  if (!reply) return report(context, reply.error());
  context.console.out(context.wants_json ? dump(*reply) + "\n" : "The dataplane takes new flows again.\n");
  return exit_ok;
}

}  // namespace sluice
