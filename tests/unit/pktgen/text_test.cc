#include "perf/pktgen/text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::perf::text_test {
namespace {

TEST(Text, NumbersHaveDecimalUnits) {
  EXPECT_EQ(*parse_number("1000"), 1'000);
  EXPECT_EQ(*parse_number("64k"), 64'000);
  EXPECT_EQ(*parse_number("1.5M"), 1'500'000);
  EXPECT_EQ(*parse_number("2G"), 2e9);
  for (const char* wrong : {"", "k", "10x", "-1", "1e6", "1 k", "0x10"})
    EXPECT_FALSE(parse_number(wrong)) << wrong;
}

TEST(Text, CountsAreWholeAndWithinTheirRange) {
  EXPECT_EQ(*parse_count("64k", 1, 100'000), 64'000u);
  EXPECT_EQ(parse_count("0", 1, 10).error().message, "0 is outside of 1 to 10");
  EXPECT_FALSE(parse_count("1.5", 1, 10));
}

TEST(Text, RatesArePacketsOrBits) {
  EXPECT_TRUE(std::isinf(parse_rate("max")->packets_per_second(64)));
  EXPECT_EQ(parse_rate("1.5M")->packets_per_second(64), 1'500'000);
  // The figure that everybody knows: 64-byte frames on a line of 10 Gbit/s.
  EXPECT_NEAR(parse_rate("10Gbit")->packets_per_second(64), 14'880'952, 1);
  for (const char* wrong : {"0", "fast", "10Gbps", ""}) EXPECT_FALSE(parse_rate(wrong)) << wrong;
}

TEST(Text, ARampHasBothItsEnds) {
  EXPECT_EQ(parse_ramp("100:300:100")->rates(), (std::vector<double>{100, 200, 300}));
  EXPECT_EQ(parse_ramp("100:250:100:2")->rates(), (std::vector<double>{100, 200, 250}));
  EXPECT_EQ(parse_ramp("100:250:100:2")->seconds, 2);
  for (const char* wrong : {"1:2", "300:100:10", "1:2:0", "0:2:1", "1:1M:1", "1:2:1:0", "a:b:c"}) {
    EXPECT_FALSE(parse_ramp(wrong)) << wrong;
  }
}

TEST(Text, Distributions) {
  EXPECT_EQ(parse_distribution("uniform")->kind, Distribution::Kind::uniform);
  EXPECT_EQ(parse_distribution("zipf:1.1")->exponent, 1.1);
  EXPECT_EQ(parse_distribution("churn:10k")->new_flows, 10'000);
  for (const char* wrong :
       {"zipf", "zipf:0", "zipf:6", "churn:0", "churn", "normal", "uniform:1"}) {
    EXPECT_FALSE(parse_distribution(wrong)) << wrong;
  }
}

TEST(Text, SizesHaveWeights) {
  EXPECT_EQ(*parse_sizes("64"), (std::vector<Size>{{64, 1}}));
  EXPECT_EQ(*parse_sizes("64,1518"), (std::vector<Size>{{64, 1}, {1'518, 1}}));
  EXPECT_EQ(*parse_sizes("imix"), *parse_sizes("64x7,594x4,1518x1"));
  EXPECT_TRUE(parse_sizes("9000"));
  for (const char* wrong : {"63", "9001", "64x0", "64x7x1", "", "64,", "big"})
    EXPECT_FALSE(parse_sizes(wrong)) << wrong;
}

TEST(Text, AddressesAndPorts) {
  EXPECT_EQ(parse_address_port("10.9.0.1:80")->port, 80);
  EXPECT_EQ(parse_address_port("[fd00::1]:443")->address, *IpAddress::parse("fd00::1"));
  for (const char* wrong :
       {"10.9.0.1", "fd00::1:80", "[10.9.0.1]:80", "10.9.0.1:0", "10.9.0.1:65536", ":80"}) {
    EXPECT_FALSE(parse_address_port(wrong)) << wrong;
  }
  EXPECT_EQ(parse_port_span("1024-65535")->count(), 64'512u);
  for (const char* wrong : {"1024", "2-1", "0-1", "1-65536"})
    EXPECT_FALSE(parse_port_span(wrong)) << wrong;
}

TEST(Text, RangesKnowTheirMembers) {
  for (const char* text : {"198.18.0.250+10", "2001:2::fff0+32"}) {
    const AddressRange range = *parse_address_range(text);
    for (std::uint32_t i = 0; i < range.count; ++i)
      EXPECT_EQ(range.index_of(range.at(i)), i) << text;
    EXPECT_EQ(range.index_of(range.at(range.count)), range.count) << text;
    EXPECT_EQ(range.index_of(*IpAddress::parse("10.0.0.1")), range.count) << text;
    EXPECT_EQ(range.index_of(*IpAddress::parse("fe80::1")), range.count) << text;
  }
  EXPECT_EQ(parse_address_range("198.18.0.255+2")->at(1).text(), "198.18.1.0");
  for (const char* wrong :
       {"255.255.255.255+2", "10.0.0.1+0", "10.0.0.1-5", "10.0.0+1", "1.1.1.1+1+1"}) {
    EXPECT_FALSE(parse_address_range(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace sluice::perf::text_test
