#include "dataplane/tables/prefix_table.h"

#include <gtest/gtest.h>

#include "tests/unit/dataplane/property.h"

namespace sluice::prefix_table_test {
namespace {

struct Built {
  explicit Built(std::span<const PrefixRule> rules) : parts(build_prefix_table(rules)) {}
  PrefixTableParts parts;
  PrefixTable table{&parts.row, parts.roots, parts.nodes};
  unsigned value(const char* address) const { return table.value_of(*IpAddress::parse(address)); }
};

PrefixRule rule(const char* prefix, std::uint8_t value) {
  return {*IpPrefix::parse(prefix), value};
}

TEST(PrefixTable, the_first_rule_that_holds_the_address_decides) {
  const std::vector<PrefixRule> rules{rule("10.1.2.3", 1),      rule("10.1.0.0/16", 2),
                                      rule("10.1.2.0/24", 1),   rule("2001:db8::1", 2),
                                      rule("2001:db8::/32", 1), rule("0.0.0.0/0", 3)};
  const Built built(rules);
  EXPECT_EQ(built.value("10.1.2.3"), 1u);
  EXPECT_EQ(built.value("10.1.2.4"), 2u);  // not the longer 10.1.2.0/24: it stands behind
  EXPECT_EQ(built.value("10.2.0.1"), 3u);
  EXPECT_EQ(built.value("2001:db8::1"), 2u);
  EXPECT_EQ(built.value("2001:db8::2"), 1u);
  EXPECT_EQ(built.value("2001:db9::2"), 0u);
}

TEST(PrefixTable, an_empty_list_holds_nothing) {
  const Built built({});
  EXPECT_EQ(built.value("10.1.2.3"), 0u);
  EXPECT_EQ(built.value("::1"), 0u);
}

// Against a walk over the list, with and without the large root.
TEST(PrefixTable, agrees_with_the_list_it_was_built_from) {
  for (const std::size_t count : {1u, 7u, 60u, 400u, 10'000u}) {
    test::Random random(count);
    std::vector<PrefixRule> rules;
    std::vector<IpAddress> places;
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_v4 = random.below(3) != 0;
      IpAddress address = is_v4 ? IpAddress::v4(Be32{static_cast<std::uint32_t>(random.word())})
                                : IpAddress{random.word(), random.word()};
      // Near others, so that they nest.
      if (!places.empty() && random.below(2) == 0) {
        address = places[random.below(places.size())];
        if (address.is_v4())
          address =
              IpAddress::v4(Be32{address.as_v4().raw ^ static_cast<std::uint32_t>(random.below(4))
                                                           << random.below(30)});
      }
      places.push_back(address);
      const auto length =
          static_cast<std::uint8_t>(address.is_v4() ? 96 + random.below(33) : random.below(129));
      rules.push_back(
          {IpPrefix::of(address, length), static_cast<std::uint8_t>(1 + random.below(prefix_value_max))});
    }
    const Built built(rules);
    std::vector<IpAddress> asked;
    std::vector<std::uint8_t> answers;
    for (int tries = 0; tries < 4'000; ++tries) {
      IpAddress address = places[random.below(places.size())];
      const std::uint64_t flip = 1ull << random.below(64);
      if (address.is_v4())
        address.low ^= flip & 0xffffffff00000000ull;
      else if (random.below(2) == 0)
        address.high ^= flip;
      else
        address.low ^= flip;
      unsigned expected = 0;
      for (const PrefixRule& one : rules) {
        if (!one.prefix.contains(address)) continue;
        expected = one.value;
        break;
      }
      ASSERT_EQ(built.table.value_of(address), expected)
          << address.text() << " among " << count
          << " rules; replay with SLUICE_SEED=" << test::run_seed();
      asked.push_back(address);
      answers.push_back(static_cast<std::uint8_t>(expected));
    }
    for (std::size_t first = 0; first < asked.size();) {
      const std::size_t together =
          std::min<std::size_t>(asked.size() - first, 1 + random.below(PrefixTable::together_max));
      std::vector<std::uint8_t> found(together, 0xee);
      built.table.values_of(found, [&](std::size_t i) { return asked[first + i]; });
      const auto begin = answers.begin() + static_cast<std::ptrdiff_t>(first);
      ASSERT_EQ(found, std::vector<std::uint8_t>(begin, begin + static_cast<std::ptrdiff_t>(together)))
          << count << " rules; replay with SLUICE_SEED=" << test::run_seed();
      first += together;
    }
  }
}

}  // namespace
}  // namespace sluice::prefix_table_test
