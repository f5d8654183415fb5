// Grammar: what may be typed, derived from rows. One row per command; parsing, help, `?`,
// completion, abbreviations and "did you mean" all read the same rows, so none of them can forget a
// command.
//
//   words        show flows
//   arguments    positional, in order: [NAME]
//   options      --limit N, in any order, after the command's words
//
// Threads: immutable after construction; the rows must outlive it.
// Errors:  parse() returns a UsageError; nothing here prints or talks to a process.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace sluice {

// What an argument or an option's value is: decides what it may be and how it is completed.
enum class ValueKind : std::uint8_t {
  none,  // of an option: it takes no value
  text,
  count,    // a positive whole number
  seconds,  // a positive number, fractions allowed
  protocol,
  address,
  file,
  directory,
  object_kind,
  object_name,  // of the kind given just before it
  field_path,   // of a configuration object: cluster.spec.endpoints
  endpoint,
  cluster,
  virtual_host,
  vip,
  port,     // of the box
  capture,  // its number
  filter_word,     // of a packet filter: a keyword, or the value of the one before it
  capture_points,  // where a capture looks
  command_word,
};

struct Argument {
  ValueKind kind = ValueKind::text;
  std::string_view name;  // as in the usage line: NAME
  std::string_view help;
  bool is_optional = false;
  bool repeats = false;  // the last argument only
};

struct Option {
  std::string_view name;  // without the dashes
  char letter = 0;        // -f; 0: none
  ValueKind kind = ValueKind::none;
  std::string_view value_name;  // as in the usage line: FILE
  std::string_view help;
  bool is_required = false;
  bool repeats = false;
};

struct Context;
struct Invocation;
using Handler = int (*)(Context&, const Invocation&);  // returns an exit code of exit_code.h

struct Command {
  std::string_view words;  // "show flows"; no command's words begin with all of another's
  std::vector<Argument> arguments;
  std::vector<Option> options;
  std::string_view help;     // one line, no full stop
  std::string_view details;  // more for --help, may be empty
  Handler handler = nullptr;
};

// A command as it was given.
struct Invocation {
  // Null when options alone were given, or help was asked for before the command was complete.
  const Command* command = nullptr;
  std::vector<std::string> words;  // the command's words as far as they were given, in full
  std::vector<std::string> arguments;
  std::multimap<std::string, std::string, std::less<>> options;

  bool has(std::string_view option) const { return options.find(option) != options.end(); }
  std::string option(std::string_view name, std::string_view fallback = {}) const;
  std::vector<std::string> all(std::string_view option) const;
  std::string argument(std::size_t index) const;  // "" when it was not given
};

struct UsageError {
  std::string message;
  std::string suggestion;            // what was probably meant, or ""
  const Command* command = nullptr;  // whose usage line helps, or null
};

// One thing that may come next.
struct Candidate {
  std::string text;
  std::string help;
  bool is_placeholder = false;  // stands for what only the operator knows: N, ADDRESS
};

// Knows the names that exist. `so_far` is the command as typed up to now.
class NameSource {
 public:
  virtual ~NameSource() = default;
  virtual std::vector<Candidate> names(ValueKind kind, std::string_view partial,
                                       const Invocation& so_far) const = 0;
};

// What may come next on a line.
struct Continuation {
  std::vector<Candidate> candidates;
  std::string runs;     // what Enter would do now; "" when the line is not complete
  std::string problem;  // why nothing can come next
};

class Grammar {
 public:
  Grammar(std::span<const Command> commands, std::span<const Option> global_options,
          bool accepts_abbreviations);

  tl::expected<Invocation, UsageError> parse(std::span<const std::string> words) const;

  // `wants_all`: for `?`, also options and placeholders; otherwise what Tab may insert.
  Continuation next(std::span<const std::string> words, std::string_view partial,
                    const NameSource& names, bool wants_all) const;

  // "show flows [--client ADDRESS] ...".
  static std::string usage(const Command& command);
  // The help of every command that begins with these words; of all when there are none.
  std::string help(std::span<const std::string> words) const;

  std::span<const Command> commands() const { return commands_; }

 private:
  struct Walk;
  Walk walk(std::span<const std::string> words) const;
  void step(Walk& walk, const std::string& word) const;
  void step_command_word(Walk& walk, const std::string& word) const;
  void step_option(Walk& walk, const std::string& word) const;
  std::optional<UsageError> unfinished(const Walk& walk) const;
  const Option* find_option(const Walk& walk, std::string_view name, char letter) const;
  std::string suggest_command(const Walk& walk, const std::string& word) const;

  std::span<const Command> commands_;
  std::span<const Option> global_options_;
  bool accepts_abbreviations_;
};

}  // namespace sluice
