#include "dataplane/net/name_patterns.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::name_patterns_test {
namespace {

struct Loaded {
  NamePatterns patterns;
  PatternScratch scratch;
};

Loaded loaded(const std::vector<std::string>& expressions) {
  const auto database = build_name_patterns(expressions);
  EXPECT_TRUE(database) << database.error().message;
  auto patterns = NamePatterns::load(*database);
  EXPECT_TRUE(patterns) << patterns.error().message;
  Loaded result{std::move(*patterns), {}};
  EXPECT_TRUE(result.patterns.enlarge(result.scratch));
  return result;
}

std::vector<std::uint32_t> matches(const Loaded& loaded, std::string_view name) {
  std::vector<std::uint32_t> numbers;
  loaded.patterns.scan(name, loaded.scratch, [&](std::uint32_t number) { numbers.push_back(number); });
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

using Numbers = std::vector<std::uint32_t>;

TEST(NamePatterns, MatchTheWholeNameAndAreCaseBlind) {
  const Loaded database = loaded({"www[0-9]+\\.example\\.com", "WWW.*", ".*", "a|b"});
  EXPECT_EQ(matches(database, "www12.example.com"), (Numbers{0, 1, 2}));
  EXPECT_EQ(matches(database, "www12.example.com.evil"), (Numbers{1, 2}));
  EXPECT_EQ(matches(database, "xwww12.example.com"), (Numbers{2}));
  EXPECT_EQ(matches(database, "www12xexample.com"), (Numbers{1, 2}));
  EXPECT_EQ(matches(database, "a"), (Numbers{2, 3}));
  EXPECT_EQ(matches(database, "ab"), (Numbers{2}));  // the anchors hold both sides of the |
}

TEST(NamePatterns, FaultsAreToldInTheTermsOfWhatWasWritten) {
  EXPECT_EQ(fault_of_name_pattern("(www|api)-[a-z]{2,8}\\.example"), "");
  EXPECT_EQ(fault_of_name_pattern(""), "it is empty");
  EXPECT_EQ(fault_of_name_pattern(std::string("a\0b", 3)), "it has a byte of zero");
  EXPECT_EQ(fault_of_name_pattern("a(b"), "Missing close parenthesis for group started at index 1");
  EXPECT_EQ(fault_of_name_pattern("a)|(b"), "Unmatched parentheses at index 1");  // would undo the anchors
  EXPECT_EQ(fault_of_name_pattern("[a"), "Unterminated character class starting at index 0");
  EXPECT_EQ(fault_of_name_pattern("(a)\\1"), "Back-references are unsupported");
  EXPECT_EQ(fault_of_name_pattern("a(?=b)"), "Zero-width assertions are not supported");
  EXPECT_EQ(fault_of_name_pattern("(a{1,1000}){1,1000}"), "Bounded repeat is too large");
  EXPECT_NE(fault_of_name_pattern("\\Qa"), "");  // alone it is good, and would swallow the anchor
  EXPECT_NE(fault_of_name_pattern("(?x)a #"), "");
}

// Expressions that take a matcher with backtracking minutes. The longest name there is, a thousand times.
TEST(NamePatterns, NoNameIsExpensive) {
  const Loaded database = loaded({"(a+)+b", "(.*a){20}c", "(a|aa)+d", "([a-z]+)*e"});
  const std::string name(253, 'a');
  for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(matches(database, name).empty());
}

TEST(NamePatterns, ThousandExpressionsAreOneDatabase) {
  std::vector<std::string> expressions;
  for (unsigned i = 0; i < name_patterns_max; ++i) expressions.push_back("host" + std::to_string(i) + "-[0-9a-f]+\\.example");
  const Loaded database = loaded(expressions);
  EXPECT_EQ(matches(database, "host1000-c0ffee.example"), (Numbers{1'000}));
  EXPECT_EQ(matches(database, "host1024-c0ffee.example"), Numbers{});
  // A scratch that was enlarged for two serves both, and so do its copies.
  const Loaded small = loaded({"x"});
  PatternScratch scratch;
  ASSERT_TRUE(small.patterns.enlarge(scratch));
  ASSERT_TRUE(database.patterns.enlarge(scratch));
  const auto copy = scratch.clone();
  ASSERT_TRUE(copy);
  for (const PatternScratch* memory : {static_cast<const PatternScratch*>(&scratch), &*copy}) {
    Numbers found;
    small.patterns.scan("x", *memory, [&](std::uint32_t number) { found.push_back(number); });
    database.patterns.scan("host7-a.example", *memory, [&](std::uint32_t number) { found.push_back(number); });
    EXPECT_EQ(found, (Numbers{0, 7}));
  }
}

}  // namespace
}  // namespace sluice::name_patterns_test
