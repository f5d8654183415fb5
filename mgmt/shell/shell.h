// Shell: runs commands: one from argv, or lines from a script or from the operator.
// Threads: one. The parts given must outlive it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mgmt/shell/console.h"
#include "mgmt/shell/context.h"
#include "mgmt/shell/grammar.h"
#include "mgmt/shell/peers.h"

namespace sluice {

class Shell {
 public:
  struct Parts {
    const Peers& peers;
    const Grammar& grammar;
    const Console& console;
    std::function<bool(Milliseconds)> pause;  // see Context
    bool commands_come_from_stdin = false;
  };
  explicit Shell(Parts parts) : parts_(std::move(parts)) {}

  // Runs a parsed command; returns its exit code. --help and --version are the caller's.
  int run(const Invocation& invocation);
  // Splits, parses and runs one line. A blank line or a comment is 0.
  int run_line(std::string_view line);
  // Runs lines until the first one that fails, whose exit code is returned; `next_line` gives
  // nullopt at the end. diff's 1 (there are differences) is an answer and does not stop the script.
  int run_script(const std::function<std::optional<std::string>()>& next_line);

  bool wants_quit() const { return wants_quit_; }

  // What is wrong with a command line, on stderr. Returns exit_usage.
  static int report_usage(const Console& console, const UsageError& error, bool wants_json);

 private:
  int run_repeatedly(Context& context, const Invocation& invocation);
  static bool is_failure(const Invocation& invocation, int exit_code);

  Parts parts_;
  bool wants_quit_ = false;
  bool last_line_failed_ = false;
};

}  // namespace sluice
