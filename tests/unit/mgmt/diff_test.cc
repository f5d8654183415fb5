#include "mgmt/server/diff.h"

#include <gtest/gtest.h>

#include "mgmt/model/suggest.h"

namespace sluice::diff_test {
namespace {

using Lines = std::vector<std::string>;

TEST(Diff, ShowsChangesWithSomeContext) {
  EXPECT_EQ(diff_lines("a\nb\nc\n", "a\nx\nc\n"), (Lines{" a", "-b", "+x", " c"}));
  EXPECT_EQ(diff_lines("", "a\nb\n"), (Lines{"+a", "+b"}));
  EXPECT_EQ(diff_lines("a\n", ""), (Lines{"-a"}));
  EXPECT_EQ(diff_lines("a\nb\n", "a\nb\n"), (Lines{}));
  EXPECT_EQ(diff_lines("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nx\n5\n6\n7\n8\n", 1),
            (Lines{" 4", "+x", " 5"}));
}

TEST(Suggest, TheNearestWordOrNone) {
  const Lines words = {"endpoints", "health_checks", "name"};
  EXPECT_EQ(closest("endpionts", words), "endpoints");
  EXPECT_EQ(closest("nmae", words), "name");
  EXPECT_EQ(closest("NAME", words), "name");
  EXPECT_EQ(closest("quite_something_else", words), "");
  EXPECT_EQ(closest("", words), "");
  EXPECT_EQ(closest("x", Lines{"y"}), "") << "no letter in common";
  EXPECT_EQ(edit_distance("ab", "ba"), 1u);
}

}  // namespace
}  // namespace sluice::diff_test
