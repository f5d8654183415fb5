// Context: all that a command may touch, passed to every handler.
#pragma once

#include <functional>
#include <string_view>

#include "dataplane/base/units.h"
#include "mgmt/shell/console.h"
#include "mgmt/shell/grammar.h"
#include "mgmt/shell/peers.h"

namespace sluice {

struct Context {
  const Peers& peers;
  const Grammar& grammar;
  const Console& console;
  // Waits; false when the operator pressed Ctrl-C meanwhile. Tests give one that does not wait.
  std::function<bool(Milliseconds)> pause;
  bool wants_json = false;                // of this command
  bool commands_come_from_stdin = false;  // so that it cannot also carry a file
  bool wants_quit = false;                // set by quit
};

// Says on stderr why, and with --json also on stdout as {"ok": false, ...}. Returns the exit code.
int report(const Context& context, const AskError& error);
// The same for what the shell finds out by itself.
int report(const Context& context, int exit_code, std::string_view message,
           std::string_view suggestion = {});

}  // namespace sluice
