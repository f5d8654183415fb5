#include "dataplane/net/address.h"

#include <gtest/gtest.h>

#include "dataplane/net/flow_key.h"

namespace sluice::address_test {
namespace {

TEST(IpAddress, TextThereAndBack) {
  for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::7", "fe80::1", "ff02::1:ff00:1"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const std::string_view text : {std::string_view(""), std::string_view("1.2.3"), std::string_view("1.2.3.4.5"),
                                      std::string_view("1.2.3.256"), std::string_view("1.2.3.4 "), std::string_view("::g"),
                                      std::string_view("1:2:3:4:5:6:7"), std::string_view("1.2.3.4\0x", 9),
                                      std::string_view("[::1]"), std::string_view("1.2.3.4/8")}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, Kinds) {
  const auto at = [](const char* text) { return *IpAddress::parse(text); };
  EXPECT_TRUE(at("224.0.0.1").is_multicast() && at("239.255.255.255").is_multicast() && at("ff02::1").is_multicast());
  EXPECT_FALSE(at("223.255.255.255").is_multicast() || at("240.0.0.1").is_multicast() || at("fe80::1").is_multicast());
  EXPECT_TRUE(at("127.0.0.1").is_loopback() && at("127.255.0.1").is_loopback() && at("::1").is_loopback());
  EXPECT_FALSE(at("128.0.0.1").is_loopback() || at("::2").is_loopback() || at("::").is_loopback());
  EXPECT_TRUE(at("169.254.9.9").is_link_local() && at("fe80::1").is_link_local() && at("febf::1").is_link_local());
  EXPECT_FALSE(at("169.255.0.1").is_link_local() || at("fec0::1").is_link_local());
  EXPECT_TRUE(at("0.0.0.0").is_unspecified() && at("0.255.0.1").is_unspecified() && at("::").is_unspecified());
  EXPECT_FALSE(at("1.0.0.0").is_unspecified() || at("::1").is_unspecified());
  EXPECT_TRUE(at("255.255.255.255").is_broadcast());
  EXPECT_FALSE(at("255.255.255.254").is_broadcast());
}

struct PrefixCase {
  const char* prefix;
  const char* address;
  bool is_inside;
};

TEST(IpPrefix, Contains) {
  const PrefixCase cases[] = {
      {"10.0.0.0/8", "10.255.255.255", true},   {"10.0.0.0/8", "11.0.0.0", false},
      {"0.0.0.0/0", "192.0.2.1", true},         {"0.0.0.0/0", "2001:db8::1", false},
      {"::/0", "2001:db8::1", true},            {"::/0", "192.0.2.1", false},
      {"::/8", "192.0.2.1", false},             {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1/32", "192.0.2.2", false},     {"2001:db8::/65", "2001:db8::7fff:0:0:1", true},
      {"2001:db8::/65", "2001:db8::8000:0:0:1", false}, {"2001:db8::/128", "2001:db8::", true},
      {"10.1.2.3/24", "10.1.2.200", true},
  };
  for (const PrefixCase& c : cases) {
    const auto prefix = IpPrefix::parse(c.prefix);
    ASSERT_TRUE(prefix) << c.prefix;
    EXPECT_EQ(prefix->contains(*IpAddress::parse(c.address)), c.is_inside) << c.prefix << " " << c.address;
  }
}

TEST(IpPrefix, TextAndRefusals) {
  for (const char* text : {"10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0"}) EXPECT_EQ(IpPrefix::parse(text)->text(), text);
  EXPECT_EQ(IpPrefix::parse("10.1.2.3/8")->text(), "10.0.0.0/8");
  for (const char* text : {"10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/8 ", "/8", "10.0.0.0/-1"}) {
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  }
}

TEST(MacAddress, TextThereAndBack) {
  EXPECT_EQ(MacAddress::parse("02:00:5e:Ff:00:01")->text(), "02:00:5e:ff:00:01");
  for (const char* text : {"", "02:00:5e:ff:00", "02:00:5e:ff:00:0g", "02-00-5e-ff-00-01", "02:00:5e:ff:00:011", "02:00:5e:ff:00:+1"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
  EXPECT_EQ(*MacAddress::parse("02:00:00:00:00:01"), (MacAddress{{2, 0, 0, 0, 0, 1}}));
  for (std::size_t i = 0; i < 6; ++i) {
    MacAddress other{{2, 0, 0, 0, 0, 1}};
    other.bytes[i] ^= 0x80;
    EXPECT_FALSE(other == (MacAddress{{2, 0, 0, 0, 0, 1}})) << i;
  }
}

TEST(FlowHash, DependsOnEveryPartAndOnTheSecret) {
  const FlowKey key{*IpAddress::parse("198.51.100.7"), *IpAddress::parse("10.9.0.1"), be16(4000), be16(80), 6};
  const FlowHash hash = hash_of(key, {1, 2});
  FlowKey other = key;
  other.source = *IpAddress::parse("198.51.100.8");
  EXPECT_NE(hash_of(other, {1, 2}), hash);
  other = key;
  other.destination = *IpAddress::parse("10.9.0.2");
  EXPECT_NE(hash_of(other, {1, 2}), hash);
  other = key;
  other.source_port = be16(4001);
  EXPECT_NE(hash_of(other, {1, 2}), hash);
  other = key;
  other.destination_port = be16(81);
  EXPECT_NE(hash_of(other, {1, 2}), hash);
  other = key;
  other.protocol = 17;
  EXPECT_NE(hash_of(other, {1, 2}), hash);
  EXPECT_NE(hash_of(key, {1, 3}), hash);
  EXPECT_NE(hash_of(key, {2, 2}), hash);
}

}  // namespace
}  // namespace sluice::address_test
