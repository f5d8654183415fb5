// The table of commands: the only place that lists them.
#pragma once

#include <span>

#include "mgmt/shell/grammar.h"

namespace sluice {

std::span<const Command> all_commands();

// Options before or after any command: on the command line, and inside the interactive shell.
std::span<const Option> command_line_options();
std::span<const Option> interactive_options();

}  // namespace sluice
