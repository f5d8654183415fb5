#include "mgmt/shell/quantity.h"

#include <gtest/gtest.h>

namespace sluice::quantity_test {
namespace {

struct Case {
  std::uint64_t value;
  const char* text;
};

TEST(Quantity, CountsAreExactBelowTenThousand) {
  for (const Case& c : {Case{0, "0"},
                        {1, "1"},
                        {999, "999"},
                        {9'999, "9999"},
                        {10'000, "10.0k"},
                        {12'345, "12.3k"},
                        {123'999, "123k"},
                        {999'999, "999k"},
                        {1'000'000, "1.00M"},
                        {1'239'999, "1.23M"},
                        {98'765'432'100, "98.7G"},
                        {1'000'000'000'000, "1.00T"},
                        {UINT64_MAX, "18446P"}}) {
    EXPECT_EQ(format_count(c.value), c.text) << c.value;
  }
}

TEST(Quantity, BytesUsePowersOf1024) {
  for (const Case& c : {Case{0, "0 B"},
                        {1023, "1023 B"},
                        {1024, "1.00 KiB"},
                        {1536, "1.50 KiB"},
                        {1'048'575, "1023 KiB"},
                        {1'048'576, "1.00 MiB"},
                        {10'485'760, "10.0 MiB"},
                        {9'876'543'210, "9.19 GiB"},
                        {1'099'511'627'776, "1.00 TiB"},
                        {UINT64_MAX, "16383 PiB"}}) {
    EXPECT_EQ(format_bytes(c.value), c.text) << c.value;
  }
}

TEST(Quantity, DurationsShowTheTwoLargestUnits) {
  for (const Case& c : {Case{0, "0ms"},
                        {999, "999ms"},
                        {1'000, "1.0s"},
                        {1'599, "1.5s"},
                        {9'999, "9.9s"},
                        {10'000, "10s"},
                        {59'999, "59s"},
                        {60'000, "1m00s"},
                        {80'000, "1m20s"},
                        {3'599'999, "59m59s"},
                        {7'500'000, "2h05m"},
                        {86'400'000, "1d00h"},
                        {273'600'000, "3d04h"}}) {
    EXPECT_EQ(format_duration(c.value), c.text) << c.value;
  }
}

}  // namespace
}  // namespace sluice::quantity_test
