// The grammar on the real table of commands: what can be typed, and what cannot.
#include "mgmt/shell/grammar.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <set>

#include "mgmt/shell/commands.h"
#include "mgmt/shell/words.h"

namespace sluice::grammar_test {
namespace {

using Words = std::vector<std::string>;

Words words(const char* line) {
  return *split_words(line);
}

Grammar strict() {
  return {all_commands(), command_line_options(), false};
}
Grammar interactive() {
  return {all_commands(), interactive_options(), true};
}

TEST(Commands, EveryRowIsComplete) {
  std::set<std::string_view> seen;
  for (const Command& command : all_commands()) {
    EXPECT_TRUE(seen.insert(command.words).second) << command.words << " is there twice";
    EXPECT_NE(command.handler, nullptr) << command.words;
    EXPECT_FALSE(command.help.empty()) << command.words;
    EXPECT_FALSE(command.help.ends_with('.')) << command.words;
    for (const Argument& argument : command.arguments) EXPECT_FALSE(argument.help.empty());
    for (const Option& option : command.options) EXPECT_FALSE(option.help.empty());
    for (const Command& other : all_commands()) {
      EXPECT_FALSE(other.words.starts_with(std::string(command.words) + " "))
          << command.words << " hides " << other.words;
    }
  }
}

TEST(Grammar, ReadsWordsArgumentsAndOptionsInAnyOrder) {
  const auto invocation = strict().parse(words("--json delete --namespace blue endpoint web-1"));
  ASSERT_TRUE(invocation.has_value()) << invocation.error().message;
  EXPECT_EQ(invocation->command->words, "delete");
  EXPECT_EQ(invocation->arguments, (Words{"endpoint", "web-1"}));
  EXPECT_EQ(invocation->option("namespace"), "blue");
  EXPECT_TRUE(invocation->has("json"));
}

TEST(Grammar, ReadsEveryWayToWriteAnOption) {
  for (const char* line : {"apply -f a", "apply -fa", "apply --file a", "apply --file=a"}) {
    const auto invocation = strict().parse(words(line));
    ASSERT_TRUE(invocation.has_value()) << line;
    EXPECT_EQ(invocation->all("file"), Words{"a"}) << line;
  }
  EXPECT_EQ(strict().parse(words("apply -f a -f -"))->all("file"), (Words{"a", "-"}));
}

TEST(Grammar, AbbreviationsAreForTheInteractiveShell) {
  for (const char* line : {"show endpoints", "sh end", "sh ep", "s e"}) {
    const auto invocation = interactive().parse(words(line));
    ASSERT_TRUE(invocation.has_value()) << invocation.error().message;
    EXPECT_EQ(invocation->command->words, "show endpoints");
  }
  EXPECT_EQ(interactive().parse(words("sh vh"))->command->words, "show virtual-hosts");
  EXPECT_FALSE(strict().parse(words("sh ep")));
  EXPECT_EQ(interactive().parse(words("show c")).error().message,
            "'c' is ambiguous: clusters, captures, config");
}

struct Refusal {
  const char* line;
  const char* message;
  const char* suggestion;
};

TEST(Grammar, RefusesWithAReasonAndASuggestion) {
  for (const Refusal& c : {
           Refusal{"shwo flows", "'shwo' is not a command", "show"},
           {"show flow", "'show flow' is not a command", "show flows"},
           {"show ep", "'show ep' is not a command", "show endpoints"},
           {"drain web-1", "'drain web-1' is not a command", "drain endpoint web-1"},
           {"flows", "'flows' is not a command", "show flows"},
           {"show",
            "'show' needs one word more: virtual-hosts, vips, clusters, endpoints, flows, ports, "
            "drops, neighbors, splices, captures, config, version",
            ""},
           {"delete endpoint", "'delete' needs NAME: name of the object", ""},
           {"apply", "'apply' needs -f FILE...: a YAML file, a directory of them, or - for stdin",
            ""},
           {"apply --file", "--file needs a value: FILE", ""},
           {"show drops --al", "'show drops' has no option --al", "--all"},
           {"show drops --all=1", "--all takes no value", ""},
           {"show drops now", "'now' is one word too many for 'show drops'", ""},
           {"show flows --limit 1 --limit 2", "--limit is given twice", ""},
           {"show flows --limit -1", "--limit: '-1' is not a number from 1 to 4294967295", ""},
           {"show flows --limit 1x", "--limit: '1x' is not a number from 1 to 4294967295", ""},
           {"show flows --vip ''", "--vip: the value is empty", ""},
           {"show drops --watch 0", "--watch: '0' is not a number of seconds from 0.1 to 86400",
            ""},
       }) {
    const auto invocation = strict().parse(words(c.line));
    ASSERT_FALSE(invocation.has_value()) << c.line;
    EXPECT_EQ(invocation.error().message, c.message) << c.line;
    EXPECT_EQ(invocation.error().suggestion, c.suggestion) << c.line;
  }
}

TEST(Grammar, HelpIsGivenWhateverElseIsWrong) {
  for (const char* line : {"--help", "show --help", "delete -h", "show drops --nonsense --help"}) {
    const auto invocation = strict().parse(words(line));
    ASSERT_TRUE(invocation.has_value()) << line;
    EXPECT_TRUE(invocation->has("help")) << line;
  }
}

TEST(Grammar, OptionsAloneAreNoCommand) {
  const auto invocation = strict().parse(words("--run-dir d"));
  ASSERT_TRUE(invocation.has_value());
  EXPECT_EQ(invocation->command, nullptr);
  EXPECT_EQ(invocation->option("run-dir"), "d");
  EXPECT_FALSE(strict().parse(words("--run-dir")));
}

}  // namespace
}  // namespace sluice::grammar_test
