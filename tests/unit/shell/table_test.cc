#include "mgmt/shell/table.h"

#include <gtest/gtest.h>

namespace sluice::table_test {
namespace {

constexpr TextStyle plain = {};

TEST(Table, AlignsTextLeftAndNumbersRight) {
  Table table({{"NAME"}, {"PACKETS", Align::right}, {"STATE"}});
  table.add({"a", "1", "up"});
  table.add({"longer", "12.3k", ""});
  EXPECT_EQ(table.text(plain),
            "NAME    PACKETS  STATE\n"
            "a             1  up\n"
            "longer    12.3k\n");
}

TEST(Table, HeaderIsBoldOnlyWithColor) {
  Table table({{"NAME"}});
  table.add({"a"});
  EXPECT_EQ(table.text({true, 80}), "\x1b[1mNAME\x1b[0m\na\n");
}

TEST(Table, AColumnWithNothingInItIsLeftOut) {
  Table table({{"NAME"}, {"REASON", Align::left, 0, true}});
  table.add({"a", ""});
  EXPECT_EQ(table.text(plain), "NAME\na\n");
}

TEST(Table, ANarrowTerminalLosesTheLeastImportantColumnsFirst) {
  Table table({{"NAME"}, {"SECOND", Align::left, 1}, {"THIRD", Align::left, 2}});
  table.add({"0123456789", "0123456789", "0123456789"});
  EXPECT_EQ(table.text({false, 34}),
            "NAME        SECOND      THIRD\n0123456789  0123456789  0123456789\n");
  EXPECT_EQ(table.text({false, 33}),
            "NAME        SECOND\n0123456789  0123456789\n"
            "(not shown at this width: THIRD;\n--json has everything)\n");
  EXPECT_EQ(table.text({false, 20}),
            "NAME\n0123456789\n"
            "(not shown at this\nwidth: THIRD,\nSECOND; --json has\neverything)\n");
}

TEST(Table, TheLastColumnWrapsBeforeAnythingIsLost) {
  Table table({{"NAME"}, {"OTHER", Align::left, 1}, {"MEANING", Align::left, 0, false, true}});
  table.add({"a", "b", "one two three four five six seven"});
  EXPECT_EQ(table.text({false, 38}),
            "NAME  OTHER  MEANING\n"
            "a     b      one two three four five\n"
            "             six seven\n");
}

TEST(Table, ControlCharactersCannotReachTheTerminal) {
  Table table({{"NAME"}});
  table.add({"a\x1b[2Jb\n\x7f\xff"});
  table.add({"\xc2\x9b"});  // CSI as one UTF-8 character
  EXPECT_EQ(table.text(plain), "NAME\na?[2Jb???\n?\n");
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width(""), 0u);
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("größe"), 5u);
  EXPECT_EQ(display_width("e\u0301"), 1u) << "a combining accent has no width";
  EXPECT_EQ(display_width("網站"), 4u);
  EXPECT_EQ(display_width("🚀"), 2u);
  EXPECT_EQ(display_width("\xff\xfe"), 2u) << "broken bytes count one each";
  EXPECT_EQ(display_width("a\xe7"), 2u) << "a sequence that is cut off";
}

TEST(Wrapped, BreaksAtSpaces) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(wrapped("", 10), Lines{""});
  EXPECT_EQ(wrapped("one two", 7), Lines{"one two"});
  EXPECT_EQ(wrapped("one two", 6), (Lines{"one", "two"}));
  EXPECT_EQ(wrapped("unbreakable word", 4), (Lines{"unbreakable", "word"}));
}

}  // namespace
}  // namespace sluice::table_test
