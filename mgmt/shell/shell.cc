#include "mgmt/shell/shell.h"

#include <fmt/core.h>
#include <stdlib.h>

#include <algorithm>

#include "dataplane/base/json_writer.h"
#include "mgmt/shell/configure.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/words.h"

namespace sluice {

int Shell::report_usage(const Console& console, const UsageError& error, bool wants_json) {
  std::string text = error.message;
  if (!error.suggestion.empty()) text += fmt::format("; did you mean '{}'?", error.suggestion);
  if (wants_json) console.out(json_error(text) + "\n");
  console.err(fmt::format("sluice: {}\n", printable(text)));
  if (error.command != nullptr) {
    console.err(fmt::format("usage: {}\n", Grammar::usage(*error.command)));
  }
  return exit_usage;
}

int Shell::run(const Invocation& invocation) {
  if (invocation.command == nullptr) {
    return report_usage(parts_.console, {"no command is given; help lists them", {}, nullptr},
                        invocation.has("json"));
  }
  Context context = {parts_.peers, parts_.grammar,         parts_.console,
                     parts_.pause, invocation.has("json"), parts_.commands_come_from_stdin};
  const int exit_code = invocation.has("watch") ? run_repeatedly(context, invocation)
                                                : invocation.command->handler(context, invocation);
  wants_quit_ = wants_quit_ || context.wants_quit;
  return exit_code;
}

// Goes on when a process is down: watching it come back is a use of this.
int Shell::run_repeatedly(Context& context, const Invocation& invocation) {
  const double seconds = strtod(invocation.option("watch").c_str(), nullptr);
  const auto interval = Milliseconds{static_cast<std::uint64_t>(seconds * 1000)};
  while (true) {
    if (context.console.is_terminal() && !context.wants_json) {
      context.console.out("\x1b[H\x1b[2J");  // to the top left, clear
    }
    const int exit_code = invocation.command->handler(context, invocation);
    if (!context.pause(interval)) return exit_code;
    if (!context.console.is_terminal() && !context.wants_json) context.console.out("\n");
  }
}

int Shell::run_line(std::string_view line) {
  last_line_failed_ = true;
  const auto words = split_words(line);
  if (!words) return report_usage(parts_.console, {words.error().message, {}, nullptr}, false);
  last_line_failed_ = false;
  if (words->empty()) return exit_ok;
  const auto invocation = parts_.grammar.parse(*words);
  if (!invocation) {
    last_line_failed_ = true;
    const bool wants_json = std::count(words->begin(), words->end(), "--json") > 0;
    return report_usage(parts_.console, invocation.error(), wants_json);
  }
  if (invocation->has("help")) {
    parts_.console.out(parts_.grammar.help(invocation->words));
    return exit_ok;
  }
  const int exit_code = run(*invocation);
  last_line_failed_ = is_failure(*invocation, exit_code);
  return exit_code;
}

bool Shell::is_failure(const Invocation& invocation, int exit_code) {
  const bool is_difference = invocation.command != nullptr &&
                             invocation.command->handler == diff_files && exit_code == exit_differs;
  return exit_code != exit_ok && !is_difference;
}

int Shell::run_script(const std::function<std::optional<std::string>()>& next_line) {
  while (!wants_quit_) {
    const auto line = next_line();
    if (!line) break;
    const int exit_code = run_line(*line);
    if (last_line_failed_) return exit_code;
  }
  return exit_ok;
}

}  // namespace sluice
