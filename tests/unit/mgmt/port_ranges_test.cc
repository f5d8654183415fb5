// The list of ports of an advertise_policy: what is read, and which item is to blame.
#include "mgmt/model/port_ranges.h"

#include <gtest/gtest.h>

namespace sluice::port_ranges_test {
namespace {

std::string read(const std::string& text) {
  const auto ranges = parse_port_ranges(text);
  return ranges ? ports_text(*ranges) : ranges.error().message;
}

TEST(PortRanges, AreReadInAnyOrder) {
  EXPECT_EQ(read("80"), "80");
  EXPECT_EQ(read("8080-8191, 443,80"), "80,443,8080-8191");
  EXPECT_EQ(read("7-7"), "7");
  EXPECT_EQ(read("1-1024"), "1-1024");
  EXPECT_EQ(read("65535"), "65535");
}

TEST(PortRanges, NameTheItemThatIsWrong) {
  EXPECT_EQ(read(""), "'' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("80,"), "'' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("80,http"), "'http' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("80,70000"), "'70000' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("0-5"), "'0-5' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("1-2-3"), "'1-2-3' is neither a port from 1 to 65535 nor a range of them");
  EXPECT_EQ(read("90-80"), "'90-80' is a range that ends before it begins");
  EXPECT_EQ(read("80-90,85"), "'85' overlaps '80-90'");
  EXPECT_EQ(read("443,1000-2023"), "with '1000-2023' the list has 1025 ports, at most 1024 are allowed");
}

}  // namespace
}  // namespace sluice::port_ranges_test
