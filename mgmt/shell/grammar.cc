#include "mgmt/shell/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "mgmt/shell/suggest.h"
#include "mgmt/shell/table.h"

namespace sluice {
namespace {

std::vector<std::string_view> words_of(const Command& command) {
  std::vector<std::string_view> words;
  std::string_view rest = command.words;
  while (!rest.empty()) {
    const std::size_t space = std::min(rest.find(' '), rest.size());
    words.push_back(rest.substr(0, space));
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  return words;
}

// The word at `depth` of each command, each once, in the order of the rows.
std::vector<std::string> distinct_words(const std::vector<const Command*>& commands,
                                        std::size_t depth) {
  std::vector<std::string> words;
  for (const Command* command : commands) {
    const auto command_words = words_of(*command);
    if (depth >= command_words.size()) continue;
    const std::string word(command_words[depth]);
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

// The known words that `word` stands for: itself; else, where abbreviations are accepted, those
// that begin with it (`end`); else those with its first letter and the others in this order (`ep`).
std::vector<std::string> matching_words(const std::vector<std::string>& known,
                                        const std::string& word, bool accepts_abbreviations) {
  if (std::find(known.begin(), known.end(), word) != known.end()) return {word};
  if (!accepts_abbreviations || word.empty()) return {};
  std::vector<std::string> matches;
  std::copy_if(known.begin(), known.end(), std::back_inserter(matches),
               [&](const std::string& candidate) { return candidate.starts_with(word); });
  if (!matches.empty()) return matches;
  std::copy_if(known.begin(), known.end(), std::back_inserter(matches),
               [&](const std::string& candidate) {
                 if (candidate.front() != word.front()) return false;
                 std::size_t found = 0;
                 for (const char c : candidate) {
                   if (found < word.size() && c == word[found]) ++found;
                 }
                 return found == word.size();
               });
  return matches;
}

// What is wrong with a value, as a sentence; "" when nothing is.
std::string value_problem(ValueKind kind, std::string_view what, const std::string& value) {
  if (kind == ValueKind::count || kind == ValueKind::capture) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number == 0) {
      return fmt::format("{}: '{}' is not a number from 1 to 4294967295", what, value);
    }
  }
  if (kind == ValueKind::seconds) {
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < 0.1 ||
        number > 86'400) {
      return fmt::format("{}: '{}' is not a number of seconds from 0.1 to 86400", what, value);
    }
  }
  if (kind == ValueKind::protocol && value != "tcp" && value != "udp") {
    return fmt::format("{}: '{}' is neither tcp nor udp", what, value);
  }
  if (kind == ValueKind::capture_points && value != "received" && value != "sent" && value != "both") {
    return fmt::format("{}: '{}' is neither received, sent nor both", what, value);
  }
  if (value.empty()) return fmt::format("{}: the value is empty", what);
  return {};
}

std::string option_usage(const Option& option) {
  std::string text =
      option.letter != 0 ? fmt::format("-{}", option.letter) : fmt::format("--{}", option.name);
  if (option.kind != ValueKind::none) text += fmt::format(" {}", option.value_name);
  if (option.repeats) text += "...";
  return text;
}

std::string option_title(const Option& option) {
  std::string text = option.letter != 0 ? fmt::format("-{}, --{}", option.letter, option.name)
                                        : fmt::format("--{}", option.name);
  if (option.kind != ValueKind::none) text += fmt::format(" {}", option.value_name);
  return text;
}

std::string argument_usage(const Argument& argument) {
  const std::string name = fmt::format("{}{}", argument.name, argument.repeats ? "..." : "");
  return argument.is_optional ? "[" + name + "]" : name;
}

// "  left      right" lines, the right side aligned.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t width = 0;
  for (const auto& [left, right] : rows) width = std::max(width, display_width(left));
  std::string text;
  for (const auto& [left, right] : rows) {
    const std::string spaces(width - display_width(left) + 2, ' ');
    text += "  " + left + spaces + right + "\n";
  }
  return text;
}

}  // namespace

std::string Invocation::option(std::string_view name, std::string_view fallback) const {
  const auto found = options.find(name);
  return found == options.end() ? std::string(fallback) : found->second;
}

std::vector<std::string> Invocation::all(std::string_view option) const {
  std::vector<std::string> values;
  const auto [first, last] = options.equal_range(option);
  for (auto it = first; it != last; ++it) values.push_back(it->second);
  return values;
}

std::string Invocation::argument(std::size_t index) const {
  return index < arguments.size() ? arguments[index] : std::string();
}

// Where in the grammar the words read so far have led.
struct Grammar::Walk {
  std::vector<const Command*> commands;  // those that begin with the words so far
  Invocation so_far;
  const Option* open_option = nullptr;  // its value comes next
  std::optional<UsageError> error;      // the first one; nothing is read after it

  void fail(std::string message, std::string suggestion = {}) {
    error = UsageError{std::move(message), std::move(suggestion), so_far.command};
  }
  // The argument that would come next, or null.
  const Argument* next_argument() const {
    if (so_far.command == nullptr || so_far.command->arguments.empty()) return nullptr;
    const auto& arguments = so_far.command->arguments;
    const std::size_t index = so_far.arguments.size();
    if (index < arguments.size()) return &arguments[index];
    return arguments.back().repeats ? &arguments.back() : nullptr;
  }
};

Grammar::Grammar(std::span<const Command> commands, std::span<const Option> global_options,
                 bool accepts_abbreviations)
    : commands_(commands),
      global_options_(global_options),
      accepts_abbreviations_(accepts_abbreviations) {}

Grammar::Walk Grammar::walk(std::span<const std::string> words) const {
  Walk walk;
  for (const Command& command : commands_) walk.commands.push_back(&command);
  for (const std::string& word : words) {
    if (walk.error) {
      // Whoever asks for help is helped, whatever stands before it.
      if (word == "--help" || word == "-h") walk.so_far.options.emplace("help", "");
      continue;
    }
    step(walk, word);
  }
  return walk;
}

void Grammar::step(Walk& walk, const std::string& word) const {
  if (walk.open_option != nullptr) {
    const Option& option = *walk.open_option;
    std::string problem = value_problem(option.kind, "--" + std::string(option.name), word);
    if (!problem.empty()) return walk.fail(std::move(problem));
    walk.so_far.options.emplace(option.name, word);
    walk.open_option = nullptr;
    return;
  }
  if (word.size() > 1 && word[0] == '-') return step_option(walk, word);
  if (walk.so_far.command == nullptr) return step_command_word(walk, word);
  const Argument* argument = walk.next_argument();
  if (argument == nullptr) {
    return walk.fail(
        fmt::format("'{}' is one word too many for '{}'", word, walk.so_far.command->words));
  }
  std::string problem = value_problem(argument->kind, argument->name, word);
  if (!problem.empty()) return walk.fail(std::move(problem));
  walk.so_far.arguments.push_back(word);
}

void Grammar::step_command_word(Walk& walk, const std::string& word) const {
  const std::size_t depth = walk.so_far.words.size();
  const std::vector<std::string> matches =
      matching_words(distinct_words(walk.commands, depth), word, accepts_abbreviations_);
  if (matches.size() > 1) {
    return walk.fail(fmt::format("'{}' is ambiguous: {}", word, fmt::join(matches, ", ")));
  }
  if (matches.empty()) {
    std::vector<std::string> given = walk.so_far.words;
    given.push_back(word);
    return walk.fail(fmt::format("'{}' is not a command", fmt::join(given, " ")),
                     suggest_command(walk, word));
  }
  walk.so_far.words.push_back(matches.front());
  std::erase_if(walk.commands, [&](const Command* command) {
    return words_of(*command)[depth] != matches.front();
  });
  if (walk.commands.size() == 1 && words_of(*walk.commands.front()).size() == depth + 1) {
    walk.so_far.command = walk.commands.front();
  }
}

const Option* Grammar::find_option(const Walk& walk, std::string_view name, char letter) const {
  const auto matches = [&](const Option& option) {
    return letter != 0 ? option.letter == letter : option.name == name;
  };
  if (walk.so_far.command != nullptr) {
    const auto& options = walk.so_far.command->options;
    const auto found = std::find_if(options.begin(), options.end(), matches);
    if (found != options.end()) return &*found;
  }
  const auto found = std::find_if(global_options_.begin(), global_options_.end(), matches);
  return found == global_options_.end() ? nullptr : &*found;
}

void Grammar::step_option(Walk& walk, const std::string& word) const {
  const bool is_long = word.starts_with("--");
  const std::size_t equals = is_long ? word.find('=') : std::string::npos;
  const std::string name = is_long ? word.substr(2, equals - 2) : std::string();
  const Option* option = find_option(walk, name, is_long ? '\0' : word[1]);
  if (option == nullptr) {
    std::vector<std::string> known;
    const auto add = [&](const Option& o) { known.push_back("--" + std::string(o.name)); };
    if (walk.so_far.command != nullptr) std::ranges::for_each(walk.so_far.command->options, add);
    std::ranges::for_each(global_options_, add);
    const std::string given = is_long ? "--" + name : word.substr(0, 2);
    if (walk.so_far.command == nullptr) {
      return walk.fail(fmt::format("option {} is not known before the command is", given),
                       is_long ? closest_name(given, known) : std::string());
    }
    return walk.fail(fmt::format("'{}' has no option {}", walk.so_far.command->words, given),
                     is_long ? closest_name(given, known) : std::string());
  }
  if (walk.so_far.has(option->name) && !option->repeats && option->kind != ValueKind::none) {
    return walk.fail(fmt::format("--{} is given twice", option->name));
  }
  const bool has_value = is_long ? equals != std::string::npos : word.size() > 2;
  if (option->kind == ValueKind::none) {
    if (has_value) return walk.fail(fmt::format("--{} takes no value", option->name));
    walk.so_far.options.emplace(option->name, "");
    return;
  }
  walk.open_option = option;
  if (has_value) step(walk, is_long ? word.substr(equals + 1) : word.substr(2));
}

std::string Grammar::suggest_command(const Walk& walk, const std::string& word) const {
  const std::size_t depth = walk.so_far.words.size();
  const std::string before = fmt::format("{}", fmt::join(walk.so_far.words, " "));
  const std::string here = closest_name(word, distinct_words(walk.commands, depth));
  const auto full = [&](const std::string& last) {
    return before.empty() ? last : before + " " + last;
  };
  if (!here.empty()) return full(here);
  const auto known = distinct_words(walk.commands, depth);
  const auto abbreviated = matching_words(known, word, true);
  if (abbreviated.size() == 1) return full(abbreviated.front());
  if (depth > 0) {
    // `sluice drain web-1` is most likely `sluice drain endpoint web-1`, when nothing else takes a word there.
    std::vector<const Command*> takers;
    std::copy_if(walk.commands.begin(), walk.commands.end(), std::back_inserter(takers),
                 [](const Command* command) { return !command->arguments.empty(); });
    return takers.size() == 1 ? std::string(takers.front()->words) + " " + word : "";
  }
  // `sluice endpoints` is most likely `sluice show endpoints`.
  for (const Command* command : walk.commands) {
    const auto words = words_of(*command);
    const std::vector<std::string> last = {std::string(words.back())};
    if (words.size() > 1 && !closest_name(word, last).empty()) return std::string(command->words);
  }
  return {};
}

std::optional<UsageError> Grammar::unfinished(const Walk& walk) const {
  const Invocation& given = walk.so_far;
  if (walk.open_option != nullptr) {
    return UsageError{
        fmt::format("--{} needs a value: {}", walk.open_option->name, walk.open_option->value_name),
        {},
        given.command};
  }
  if (given.command == nullptr) {
    const auto words = distinct_words(walk.commands, given.words.size());
    return UsageError{fmt::format("'{}' needs one word more: {}", fmt::join(given.words, " "),
                                  fmt::join(words, ", ")),
                      {},
                      nullptr};
  }
  const Argument* argument = walk.next_argument();
  if (argument != nullptr && !argument->is_optional &&
      given.arguments.size() < given.command->arguments.size()) {
    return UsageError{
        fmt::format("'{}' needs {}: {}", given.command->words, argument->name, argument->help),
        {},
        given.command};
  }
  for (const Option& option : given.command->options) {
    if (option.is_required && !given.has(option.name)) {
      return UsageError{
          fmt::format("'{}' needs {}: {}", given.command->words, option_usage(option), option.help),
          {},
          given.command};
    }
  }
  return std::nullopt;
}

tl::expected<Invocation, UsageError> Grammar::parse(std::span<const std::string> words) const {
  Walk walk = this->walk(words);
  if (walk.so_far.has("help") || walk.so_far.has("version")) return std::move(walk.so_far);
  if (walk.error) return tl::unexpected(*walk.error);
  const bool has_options_only = walk.so_far.words.empty() && walk.open_option == nullptr;
  if (has_options_only) return std::move(walk.so_far);
  if (auto error = unfinished(walk)) return tl::unexpected(*error);
  return std::move(walk.so_far);
}

Continuation Grammar::next(std::span<const std::string> words, std::string_view partial,
                           const NameSource& names, bool wants_all) const {
  const Walk walk = this->walk(words);
  Continuation result;
  if (walk.error) {
    result.problem = walk.error->message;
    return result;
  }
  const auto offer = [&](Candidate candidate) {
    if (candidate.is_placeholder ? partial.empty() : candidate.text.starts_with(partial)) {
      result.candidates.push_back(std::move(candidate));
    }
  };
  const auto offer_values = [&](ValueKind kind, std::string_view name, std::string_view help) {
    if (wants_all) offer({std::string(name), std::string(help), true});
    for (Candidate& candidate : names.names(kind, partial, walk.so_far)) {
      offer(std::move(candidate));
    }
  };

  if (walk.open_option != nullptr) {
    offer_values(walk.open_option->kind, walk.open_option->value_name, walk.open_option->help);
    return result;
  }
  const Command* command = walk.so_far.command;
  if (command == nullptr) {
    const std::size_t depth = walk.so_far.words.size();
    for (const std::string& word : distinct_words(walk.commands, depth)) {
      std::vector<std::string> under;
      std::string_view help;
      for (const Command* candidate : walk.commands) {
        const auto candidate_words = words_of(*candidate);
        if (candidate_words[depth] != word) continue;
        help = candidate->help;
        if (candidate_words.size() > depth + 1) under.emplace_back(candidate_words[depth + 1]);
      }
      // Of several, their names; of the only one, what it does.
      offer(
          {word, under.size() > 1 ? fmt::format("{}", fmt::join(under, ", ")) : std::string(help)});
    }
  } else if (const Argument* argument = walk.next_argument()) {
    offer_values(argument->kind, argument_usage(*argument), argument->help);
  }

  const auto error = unfinished(walk);
  if (partial.empty() && !error) result.runs = command->help;
  // Tab offers options when asked for by a dash, or when nothing else is left to offer.
  const bool is_asked = partial.starts_with('-');
  if (command != nullptr && (wants_all || is_asked || result.candidates.empty())) {
    for (const Option& option : command->options) {
      if (walk.so_far.has(option.name) && !option.repeats) continue;
      const bool is_short = option.letter != 0 && !partial.starts_with("--");
      offer({is_short ? fmt::format("-{}", option.letter) : fmt::format("--{}", option.name),
             option.kind == ValueKind::none
                 ? std::string(option.help)
                 : fmt::format("{}: {}", option.value_name, option.help)});
    }
  }
  if (is_asked || (wants_all && command != nullptr)) {
    for (const Option& option : global_options_) {
      if (walk.so_far.has(option.name)) continue;
      offer({fmt::format("--{}", option.name), std::string(option.help)});
    }
  }
  return result;
}

std::string Grammar::usage(const Command& command) {
  std::string text(command.words);
  for (const Argument& argument : command.arguments) text += " " + argument_usage(argument);
  for (const Option& option : command.options) {
    const std::string part = option_usage(option);
    text += option.is_required ? " " + part : " [" + part + "]";
  }
  return text;
}

std::string Grammar::help(std::span<const std::string> words) const {
  std::vector<const Command*> matching;
  for (const Command& command : commands_) {
    const auto command_words = words_of(command);
    if (words.size() <= command_words.size() &&
        std::equal(words.begin(), words.end(), command_words.begin())) {
      matching.push_back(&command);
    }
  }
  std::vector<std::pair<std::string, std::string>> global_rows;
  for (const Option& option : global_options_) {
    global_rows.emplace_back(option_title(option), std::string(option.help));
  }
  if (matching.size() != 1) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const Command* command : matching) {
      std::string left(command->words);
      for (const Argument& argument : command->arguments) left += " " + argument_usage(argument);
      for (const Option& option : command->options) {
        if (option.is_required) left += " " + option_usage(option);
      }
      rows.emplace_back(std::move(left), std::string(command->help));
    }
    return fmt::format("Commands:\n{}\nOptions of every command:\n{}", two_columns(rows),
                       two_columns(global_rows));
  }
  const Command& command = *matching.front();
  std::string sentence(command.help);
  if (sentence[0] >= 'a' && sentence[0] <= 'z') sentence[0] = static_cast<char>(sentence[0] - 32);
  std::string text = fmt::format("usage: {}\n{}.\n", usage(command), sentence);
  if (!command.details.empty()) text += fmt::format("\n{}\n", command.details);
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Argument& argument : command.arguments) {
    rows.emplace_back(argument_usage(argument), std::string(argument.help));
  }
  for (const Option& option : command.options) {
    rows.emplace_back(option_title(option), std::string(option.help));
  }
  rows.insert(rows.end(), global_rows.begin(), global_rows.end());
  return text + "\n" + two_columns(rows);
}

}  // namespace sluice
