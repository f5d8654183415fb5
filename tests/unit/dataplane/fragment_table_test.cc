// FragmentTable against the plainest model: a set of bytes for each datagram, a queue of what waits.
#include "dataplane/flow/fragment_table.h"

#include <deque>
#include <set>

#include "tests/unit/dataplane/property.h"

namespace sluice::fragment_table_test {
namespace {

using Taken = FragmentTable::Taken;

FlowKey name_of(std::uint16_t id) {
  FlowKey name;
  name.source = *IpAddress::parse("198.51.100.7");
  name.destination = *IpAddress::parse("10.9.0.1");
  name.destination_port = be16(id);
  name.protocol = 17;
  return name;
}

Fragment fragment_of(std::uint32_t first, std::uint32_t end, bool has_more) {
  Fragment fragment;
  fragment.offset_bytes = first;
  fragment.payload_bytes = end - first;
  fragment.has_more = has_more;
  return fragment;
}

const FragmentLimits wide{FragmentTable::datagrams_max, 1 << 20, 5'000};

TEST(FragmentTable, ForwardsEachByteOnceAndTakesWholeDatagramsInAnyOrder) {
  SLUICE_TRACE_SEED();
  test::Random random(41);
  for (std::uint64_t round = 0; round < test::tries(3'000); ++round) {
    FragmentTable table;
    Datagram& datagram = table.find_or_add(name_of(1), 1, {1'000}, wide);
    const std::uint32_t total = 8 + static_cast<std::uint32_t>(random.below(30'000));
    const std::uint32_t piece = 8 * (1 + static_cast<std::uint32_t>(random.below(180)));
    std::vector<Fragment> fragments;
    for (std::uint32_t first = 0; first < total; first += piece) {
      const std::uint32_t end = std::min(total, first + piece);
      fragments.push_back(fragment_of(first, end, end < total));
    }
    if (fragments.size() > 2 * Datagram::ranges_max - 2) continue;
    std::shuffle(fragments.begin(), fragments.end(), std::mt19937_64(random.word()));
    for (const Fragment& fragment : fragments) {
      ASSERT_EQ(table.take(datagram, fragment), Taken::added);
      ASSERT_EQ(table.take(datagram, fragment), Taken::duplicate);
    }
    ASSERT_EQ(datagram.range_count, 1u);
    ASSERT_EQ(datagram.range_end[0], (total + 7) / 8);
    ASSERT_TRUE(datagram.has_end && datagram.end_bytes == total && !datagram.is_refused);
    ASSERT_EQ(table.take(datagram, fragment_of(0, total / 8 * 8 + 16, true)), Taken::overlap);
    ASSERT_TRUE(datagram.is_refused);
  }
}

TEST(FragmentTable, RandomFragmentsNeverForwardAByteTwice) {
  SLUICE_TRACE_SEED();
  test::Random random(42);
  for (std::uint64_t round = 0; round < test::tries(20'000); ++round) {
    FragmentTable::Taken taken = Taken::added;
    static FragmentTable table;
    Datagram& datagram = table.find_or_add(name_of(static_cast<std::uint16_t>(round)), round, {1'000 + round}, wide);
    datagram.range_count = 0;
    std::set<std::uint32_t> sent;
    for (int i = 0; i < 40 && taken != Taken::overlap; ++i) {
      const std::uint32_t first = 8 * static_cast<std::uint32_t>(random.below(100));
      const std::uint32_t end = first + 8 * (1 + static_cast<std::uint32_t>(random.below(6)));
      std::uint32_t known = 0;
      for (std::uint32_t byte = first; byte < end; byte += 8) known += sent.contains(byte);
      taken = table.take(datagram, fragment_of(first, end, true));
      if (known == 0) {
        ASSERT_TRUE(taken == Taken::added || taken == Taken::scattered);
      } else if (known == (end - first) / 8 && taken == Taken::duplicate) {
        continue;
      } else {
        ASSERT_EQ(taken, Taken::overlap);
      }
      if (taken != Taken::added) continue;
      for (std::uint32_t byte = first; byte < end; byte += 8) sent.insert(byte);
    }
  }
}

TEST(FragmentTable, HoldsWithinItsLimitsAndGivesEverythingBackOnce) {
  SLUICE_TRACE_SEED();
  test::Random random(43);
  FragmentTable table;
  const FragmentLimits limits{64, 40'000, 1'000};
  std::set<std::uintptr_t> inside;
  std::uintptr_t next = 1;
  Instant now{1'000};
  for (std::uint64_t i = 0; i < test::tries(300'000); ++i) {
    now.ms += random.below(3);
    const auto id = static_cast<std::uint16_t>(random.below(200));
    Datagram& datagram = table.find_or_add(name_of(id), id, now, limits);
    ASSERT_EQ(datagram.name, name_of(id));
    HeldFragment fragment;
    fragment.handle = reinterpret_cast<void*>(next);
    fragment.bytes = static_cast<std::uint16_t>(random.below(1'500));
    if (table.hold(datagram, fragment, limits)) inside.insert(next++);
    if (random.one_in(5)) table.make_ready(datagram);
    if (random.one_in(9)) table.expire(now, limits.timeout_ms);
    ASSERT_LE(table.datagram_count(), 64u);
    ASSERT_LE(table.waiting_bytes(), 40'000u);
    ASSERT_EQ(table.held_count(), inside.size());
    HeldFragment out;
    while (random.one_in(2) && table.take_ready(out)) ASSERT_EQ(inside.erase(reinterpret_cast<std::uintptr_t>(out.handle)), 1u);
    if (random.one_in(3)) {
      while (table.take_lost(out)) ASSERT_EQ(inside.erase(reinterpret_cast<std::uintptr_t>(out.handle)), 1u);
    }
  }
  now.ms += 10'000;
  table.expire(now, limits.timeout_ms);
  HeldFragment out;
  while (table.take_ready(out) || table.take_lost(out)) inside.erase(reinterpret_cast<std::uintptr_t>(out.handle));
  EXPECT_TRUE(inside.empty());
  EXPECT_EQ(table.held_count(), 0u);
  EXPECT_EQ(table.waiting_bytes(), 0u);
  EXPECT_EQ(table.datagram_count(), 0u);
}

// FR-03 in small: honest datagrams among ten times as many that never become whole.
TEST(FragmentTable, AFloodOfUnfinishedDatagramsCostsHonestOnesNothingThatComeTogether) {
  SLUICE_TRACE_SEED();
  test::Random random(44);
  FragmentTable table;
  std::uint64_t honest = 0, released = 0;
  for (std::uint64_t i = 0; i < 10 * FragmentTable::datagrams_max; ++i) {
    const Instant now{1'000 + i / 100};
    FlowKey noise = name_of(static_cast<std::uint16_t>(i));
    noise.source = *IpAddress::parse("203.0.113.9");
    table.hold(table.find_or_add(noise, random.word(), now, wide), {nullptr, 1'500, 0, 0}, wide);
    if (i % 10 == 0) {
      FlowKey name = name_of(static_cast<std::uint16_t>(i / 10));
      const FlowHash hash = 0x1234567 * (i + 1);
      table.hold(table.find_or_add(name, hash, now, wide), {&table, 1'500, 0, 0}, wide);  // last first
      table.make_ready(table.find_or_add(name, hash, now, wide));
      ++honest;
    }
    HeldFragment out;
    while (table.take_lost(out)) {
    }
    while (table.take_ready(out)) released += out.handle == &table;
  }
  EXPECT_EQ(released, honest);
}

}  // namespace
}  // namespace sluice::fragment_table_test
