// Slot tables: balance, how little moves when an endpoint goes, and what they cost.
#include "mgmt/compile/slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "dataplane/net/flow_key.h"

namespace sluice::slots_test {
namespace {

std::vector<SlotEndpoint> endpoints(std::size_t count, std::vector<std::uint16_t> weights = {}) {
  std::vector<SlotEndpoint> list;
  for (std::size_t i = 0; i < count; ++i) {
    SlotEndpoint endpoint{};
    const IpAddress address = IpAddress::v4(be32(0x0a020000 + static_cast<std::uint32_t>(i) + 1));
    endpoint.identity = endpoint_identity(address, 8080, 6);
    endpoint.index = static_cast<std::uint16_t>(i);
    if (!weights.empty()) endpoint.weight = weights[i % weights.size()];
    list.push_back(endpoint);
  }
  return list;
}

std::vector<SlotEndpoint> without(std::vector<SlotEndpoint> list, std::size_t gone) {
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(gone));
  return list;
}

// Slots that changed hands although their endpoint stayed, as a share of all.
double excess_moves(const std::vector<std::uint16_t>& before,
                    const std::vector<std::uint16_t>& after, std::uint16_t gone) {
  std::size_t moved = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    moved += before[i] != gone && before[i] != after[i] ? 1 : 0;
  return static_cast<double>(moved) / static_cast<double>(before.size());
}

// A million random flows, hashed and scaled to a slot as the dataplane does.
std::vector<double> shares_of_flows(const std::vector<std::uint16_t>& slots, std::size_t count) {
  std::mt19937_64 dice(7);
  std::vector<double> shares(count);
  constexpr int flow_count = 1'000'000;
  for (int i = 0; i < flow_count; ++i) {
    FlowKey key;
    key.source = IpAddress::v4(be32(static_cast<std::uint32_t>(dice())));
    key.destination = IpAddress::v4(be32(0x0a090001));
    key.source_port = be16(static_cast<std::uint16_t>(dice()));
    key.destination_port = be16(80);
    key.protocol = 6;
    const FlowHash hash = hash_of(key, {1, 2});
    shares[slots[(hash >> 32) * slots.size() >> 32]] += 1.0 / flow_count;
  }
  return shares;
}

TEST(Maglev, EveryFlowShareIsWithinTwoPercentOfItsWeight) {
  const std::vector<std::uint16_t> weights = {1, 2, 3, 4, 5, 5, 4, 3, 2, 1};
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto shares = shares_of_flows(maglev_slots(endpoints(10, weights), 65537), 10);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    EXPECT_NEAR(shares[i] / (weights[i] / total), 1.0, 0.02) << "endpoint " << i;
  }
}

TEST(Maglev, ChiSquareOfEqualWeights) {
  const auto shares = shares_of_flows(maglev_slots(endpoints(100), 65537), 100);
  double chi_square = 0;
  for (const double share : shares) chi_square += 1e6 * (share - 0.01) * (share - 0.01) / 0.01;
  EXPECT_LT(chi_square, 180)
      << "99 degrees of freedom: 149 at one in a thousand, plus the table's own grain";
}

TEST(Maglev, SlotsAreSharedByWeightToOneInAThousand) {
  for (const auto& weights : {std::vector<std::uint16_t>{1}, {1, 1000}, {7, 11, 13}, {100, 1}}) {
    const auto list = endpoints(12, weights);
    std::map<std::uint16_t, std::size_t> counts;
    for (const std::uint16_t slot : maglev_slots(list, 65537)) ++counts[slot];
    double total = 0;
    for (const SlotEndpoint& endpoint : list) total += endpoint.weight;
    for (const SlotEndpoint& endpoint : list) {
      EXPECT_NEAR(static_cast<double>(counts[endpoint.index]) / 65537, endpoint.weight / total,
                  0.001);
    }
  }
}

TEST(Maglev, RemovingOneOfAHundredMovesLittleElse) {
  const auto list = endpoints(100);
  const auto before = maglev_slots(list, 65537);
  double sum = 0;
  double worst = 0;
  for (std::size_t gone = 0; gone < 100; ++gone) {
    const double moved = excess_moves(before, maglev_slots(without(list, gone), 65537),
                                      static_cast<std::uint16_t>(gone));
    sum += moved;
    worst = std::max(worst, moved);
  }
  EXPECT_LE(sum / 100, 0.006);
  EXPECT_LE(worst, 0.0075);
}

TEST(Maglev, AFailedEndpointMovesItsOwnSlotsOnly) {
  auto list = endpoints(100);
  const auto before = maglev_slots(list, 65537);
  for (const std::size_t down : {17u, 42u, 99u}) {
    list[down].takes_flows = 0;
    const auto after = maglev_slots(list, 65537);
    EXPECT_EQ(excess_moves(before, after, static_cast<std::uint16_t>(down)), 0);
    EXPECT_EQ(std::count(after.begin(), after.end(), static_cast<std::uint16_t>(down)), 0);
    std::map<std::uint16_t, int> counts;
    for (const std::uint16_t slot : after) ++counts[slot];
    for (const auto& [index, count] : counts) EXPECT_NEAR(count, 65537 / 99, 2) << index;
    list[down].takes_flows = 1;
  }
}

TEST(Maglev, MassFailureStaysBalanced) {
  auto list = endpoints(100);
  for (std::size_t i = 0; i < 100; ++i) list[i].takes_flows = i % 10 == 0 ? 1 : 0;
  std::map<std::uint16_t, int> counts;
  for (const std::uint16_t slot : maglev_slots(list, 65537)) ++counts[slot];
  ASSERT_EQ(counts.size(), 10u);
  for (const auto& [index, count] : counts) EXPECT_NEAR(count, 6553.7, 3) << index;
}

TEST(Maglev, ALargerTableMovesLess) {
  const auto list = endpoints(100);
  const auto before = maglev_slots(list, 655373);
  EXPECT_LE(excess_moves(before, maglev_slots(without(list, 42), 655373), 42), 0.0015);
}

TEST(Maglev, AThousandEndpointsAreBuiltInTime) {
  const auto list = endpoints(1000);
  double best_ms = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto slots = maglev_slots(list, 65537);
    best_ms = std::min(
        best_ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                     .count());
    ASSERT_EQ(slots.size(), 65537u);
  }
  RecordProperty("best_us", static_cast<int>(best_ms * 1000));
  EXPECT_LE(best_ms, SLOW_BUILD ? 500 : 15);
}

TEST(Ring, RemovingOneOfNMovesOnlyItsOwnSlots) {
  for (const std::size_t count : {2u, 10u, 100u}) {
    const auto list = endpoints(count);
    const auto before = ring_slots(list);
    const auto after = ring_slots(without(list, count / 2));
    const auto gone = static_cast<std::uint16_t>(count / 2);
    EXPECT_EQ(excess_moves(before, after, gone), 0) << count;
    const double share =
        static_cast<double>(std::count(before.begin(), before.end(), gone)) / ring_slot_count;
    EXPECT_NEAR(share * static_cast<double>(count), 1.0, 0.25) << count;
  }
}

TEST(Ring, SharesFollowWeights) {
  const auto slots = ring_slots(endpoints(3, {1, 2, 5}));
  const double share =
      static_cast<double>(std::count(slots.begin(), slots.end(), 2)) / ring_slot_count;
  EXPECT_NEAR(share, 5.0 / 8, 0.03);
}

TEST(Sequence, EachAsOftenAsItsWeightAndSpreadEvenly) {
  const auto slots = sequence_slots(endpoints(3, {5, 1, 1}));
  EXPECT_EQ(slots.size(), 7u);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), 0), 5);
  EXPECT_EQ(sequence_slots(endpoints(3)), (std::vector<std::uint16_t>{0, 1, 2}));
  EXPECT_EQ(sequence_slots(endpoints(2, {10, 20})), (std::vector<std::uint16_t>{1, 0, 1}))
      << "weights are reduced";
}

TEST(Sequence, HugeWeightsStayBounded) {
  const auto slots = sequence_slots(endpoints(2000, {997, 1}));
  EXPECT_LE(slots.size(), sequence_slots_max + 2000);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), 1), 1) << "nobody is left out";
}

TEST(Slots, NoEndpointsNoSlots) {
  EXPECT_TRUE(maglev_slots({}, 65537).empty());
  EXPECT_TRUE(ring_slots({}).empty());
  EXPECT_TRUE(sequence_slots({}).empty());
}

}  // namespace
}  // namespace sluice::slots_test
