#include "mgmt/shell/words.h"

#include <gtest/gtest.h>

namespace sluice::words_test {
namespace {

using Words = std::vector<std::string>;

TEST(Words, AreSeparatedBySpacesAndQuoted) {
  EXPECT_EQ(*split_words(""), Words{});
  EXPECT_EQ(*split_words("  show\tflows  "), (Words{"show", "flows"}));
  EXPECT_EQ(*split_words("apply -f 'my file.yaml'"), (Words{"apply", "-f", "my file.yaml"}));
  EXPECT_EQ(*split_words("a\"b c\"d"), (Words{"ab cd"}));
  EXPECT_EQ(*split_words("my\\ file"), (Words{"my file"}));
  EXPECT_EQ(*split_words("''"), (Words{""}));
  EXPECT_EQ(*split_words("show flows # all"), (Words{"show", "flows"}));
  EXPECT_EQ(*split_words("a#b"), (Words{"a#b"}));
  EXPECT_EQ(*split_words("show flows\r"), (Words{"show", "flows"}));
}

TEST(Words, AnOpenQuoteIsAnError) {
  EXPECT_FALSE(split_words("show 'flows"));
  EXPECT_FALSE(split_words("\""));
}

TEST(Words, TheWordBeingTypedIsKeptApart) {
  EXPECT_EQ(split_partial("").partial, "");
  EXPECT_EQ(split_partial("sho").partial, "sho");
  EXPECT_EQ(split_partial("show ").words, Words{"show"});
  EXPECT_EQ(split_partial("show ").partial, "");
  EXPECT_EQ(split_partial("apply -f 'my fi").partial, "my fi");
  EXPECT_TRUE(split_partial("# show").is_in_comment);
}

TEST(Words, AQuotedWordReadsBackAsItself) {
  for (const char* word : {"plain", "two words", "it's", "a\\b", "#1", "\"q\""}) {
    EXPECT_EQ(*split_words(quoted_word(word)), Words{word});
  }
}

}  // namespace
}  // namespace sluice::words_test
