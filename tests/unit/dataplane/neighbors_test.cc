#include "dataplane/pipeline/neighbors.h"

#include <map>

#include "tests/unit/dataplane/property.h"

namespace sluice::neighbors_test {
namespace {

TEST(NeighborTable, AgreesWithAMapWhileEntriesComeAndGo) {
  SLUICE_TRACE_SEED();
  test::Random random(60);
  NeighborTable table;
  std::map<std::pair<IpAddress, std::uint16_t>, std::uint16_t> model;
  for (std::uint64_t step = 0; step < test::tries(400'000); ++step) {
    const IpAddress address = IpAddress::v4(be32(static_cast<std::uint32_t>(random.below(6'000))));
    const auto port = static_cast<std::uint16_t>(random.below(2));
    const auto known = model.find({address, port});
    ASSERT_EQ(table.find(address, port), known == model.end() ? no_neighbor : known->second);
    if (known == model.end()) {
      const std::uint16_t index = table.find_or_add(address, port, Instant{step});
      ASSERT_EQ(index == no_neighbor, model.size() == neighbors_max);
      if (index == no_neighbor) continue;
      ASSERT_EQ(table[index].state, NeighborState::incomplete);
      ASSERT_EQ(table[index].address, address);
      model[{address, port}] = index;
    } else if (random.below(100) < 70) {
      const std::uint32_t epoch = table.epoch();
      table.forget(known->second);
      ASSERT_NE(table.epoch(), epoch);
      ASSERT_NE(table.epoch(), 0u);
      model.erase(known);
    } else {
      ASSERT_EQ(table.learn(address, port, {{2, 0, 0, 0, 0, 9}}, Instant{step}), known->second);
    }
  }
  for (const auto& [key, index] : model) ASSERT_EQ(table.find(key.first, key.second), index);
}

TEST(NeighborTable, HoldsInOrderAndWithinItsLimits) {
  NeighborTable table;
  std::vector<std::uint16_t> entries;
  for (std::uint32_t i = 0; i < 17; ++i) entries.push_back(table.find_or_add(IpAddress::v4(be32(i + 1)), 0, Instant{0}));
  std::size_t held = 0;
  for (const std::uint16_t entry : entries) {
    for (std::uint32_t i = 0; i < hold_per_neighbor_max; ++i) {
      HeldPacket packet;
      packet.bytes = static_cast<std::uint16_t>(i);
      const bool is_held = table.hold(entry, packet);
      ASSERT_EQ(is_held, held < hold_max);
      held += is_held;
    }
    HeldPacket one_more;
    ASSERT_FALSE(table.hold(entry, one_more));
  }
  HeldPacket packet;
  for (std::uint32_t i = 0; i < hold_per_neighbor_max; ++i) {
    ASSERT_TRUE(table.take_held(entries[3], packet));
    ASSERT_EQ(packet.bytes, i);
  }
  EXPECT_FALSE(table.take_held(entries[3], packet));
  EXPECT_EQ(table.held_count(), hold_max - hold_per_neighbor_max);
}

}  // namespace
}  // namespace sluice::neighbors_test
