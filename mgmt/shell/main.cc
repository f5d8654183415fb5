// sluice: the operator's shell. With a command it runs that one; without, it reads commands from
// the terminal, or from a script on stdin.
#include <errno.h>
#include <fmt/core.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "mgmt/shell/commands.h"
#include "mgmt/shell/completion.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/line_editor.h"
#include "mgmt/shell/names.h"
#include "mgmt/shell/shell.h"
#include "mgmt/shell/show.h"

namespace sluice {
namespace {

constexpr std::string_view run_dir_default = "/run/sluice";
constexpr std::size_t script_line_bytes_max = 64 * 1024;

volatile sig_atomic_t was_interrupted = 0;

void on_interrupt(int) {
  was_interrupted = 1;
}

// In the interactive shell Ctrl-C ends the command and not the shell. A call that is waiting for a
// process goes on until its timeout; what is between two calls ends at once.
void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

bool pause_unless_interrupted(Milliseconds interval) {
  timespec left{static_cast<time_t>(interval.count / 1000),
                static_cast<long>(interval.count % 1000 * 1'000'000)};
  while (was_interrupted == 0 && nanosleep(&left, &left) != 0) {
    if (errno != EINTR) return false;
  }
  return was_interrupted == 0;
}

void print_help(const Console& console, const Grammar& grammar,
                const std::vector<std::string>& words) {
  if (!words.empty()) return console.out(grammar.help(words));
  console.out(
      "usage: sluice [--run-dir DIR] [COMMAND]\n"
      "Configures and observes a Sluice load balancer. Without a command it reads commands "
      "from the\nterminal, or from stdin until one fails (whose exit code it returns).\n\n" +
      grammar.help(words) +
      "\nExit codes: 0 done; 1 refused, the message says why; 2 the command line or a file "
      "is wrong;\n3 a process does not answer. diff: 0 no difference, 1 differences, 2 "
      "refused or wrong, 3 no answer.\n");
}

std::string history_file() {
  const char* home = getenv("HOME");
  return home == nullptr || *home == '\0' ? std::string() : fmt::format("{}/.sluice_history", home);
}

int run_terminal(const Peers& peers) {
  Console console = Console::standard();
  const Grammar grammar(all_commands(), interactive_options(), true);
  const Names names(peers, all_commands());
  Shell shell({peers, grammar, console, pause_unless_interrupted});
  catch_interrupts();
  console.out(greeting(peers));
  LineEditor editor({[&](std::string_view line) {
                       return complete_line(grammar, names, line, Console::standard_style());
                     },
                     [&](std::string_view line) {
                       return explain_line(grammar, names, line, Console::standard_style());
                     }},
                    "sluice> ", history_file());
  while (!shell.wants_quit()) {
    const auto line = editor.read_line();
    if (!line) {
      console.out("\n");
      break;
    }
    was_interrupted = 0;
    console.set_style(Console::standard_style());  // the window may have another width by now
    shell.run_line(*line);
  }
  return exit_ok;
}

// The next line of stdin; nullopt at its end, and when a line is longer than any command can be.
std::optional<std::string> next_script_line(bool& is_too_long) {
  std::string line;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c == '\n') return line;
    line += static_cast<char>(c);
    is_too_long = line.size() > script_line_bytes_max;
    if (is_too_long) return std::nullopt;
  }
  return line.empty() ? std::nullopt : std::optional(line);
}

int run_script(const Peers& peers) {
  const Console console = Console::standard();
  const Grammar grammar(all_commands(), interactive_options(), true);
  Shell shell({peers, grammar, console, pause_unless_interrupted, true});
  bool is_too_long = false;
  const int exit_code = shell.run_script([&] { return next_script_line(is_too_long); });
  if (!is_too_long) return exit_code;
  console.err(fmt::format("sluice: stdin: a line is longer than {} bytes: not a script\n",
                          script_line_bytes_max));
  return exit_usage;
}

int run(const std::vector<std::string>& words) {
  const Console console = Console::standard();
  const Grammar grammar(all_commands(), command_line_options(), false);
  const bool wants_json = std::count(words.begin(), words.end(), "--json") > 0;
  const auto invocation = grammar.parse(words);
  if (!invocation) return Shell::report_usage(console, invocation.error(), wants_json);
  if (invocation->has("help")) {
    print_help(console, grammar, invocation->words);
    return exit_ok;
  }
  if (invocation->has("version")) {
    console.out(fmt::format("sluice {}\n", SLUICE_VERSION));
    return exit_ok;
  }
  const Peers peers(invocation->option("run-dir", run_dir_default));
  if (invocation->command == nullptr) {
    const bool is_terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
    return is_terminal ? run_terminal(peers) : run_script(peers);
  }
  return Shell({peers, grammar, console, pause_unless_interrupted}).run(*invocation);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  // Character classes only: numbers are always written the C way. Without a locale, UTF-8.
  const char* locale = setlocale(LC_CTYPE, "");
  if (locale == nullptr || std::string_view(locale) == "C" || std::string_view(locale) == "POSIX") {
    setlocale(LC_CTYPE, "C.UTF-8");
  }
  const std::vector<std::string> words(argv + 1, argv + argc);
  const int exit_code = sluice::run(words);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fputs("sluice: stdout: the answer could not be written in full\n", stderr);
    return exit_code == 0 ? 1 : exit_code;
  }
  return exit_code;
}
