// Flow rules against a card that is a list: every SNAT port of an lcore's slice is brought to its queue, and nothing else.
#include "dataplane/io/flow_rules.h"

#include <gtest/gtest.h>

#include <map>

#include "dataplane/flow/reply_owner.h"
#include "dataplane/net/headers.h"
#include "tests/unit/io/small_snapshot.h"

namespace sluice::flow_rules_test {
namespace {

struct CardState {
  std::map<std::uintptr_t, FlowRule> rules;
  std::uintptr_t next = 1;
  std::size_t created = 0, room = SIZE_MAX;
};

class Card : public RuleTaker {
 public:
  explicit Card(CardState& state) : state_(state) {}
  Result<void*> create(const FlowRule& rule) override {
    if (state_.rules.size() == state_.room) return fail("the table is full");
    ++state_.created;
    state_.rules[state_.next] = rule;
    return reinterpret_cast<void*>(state_.next++);
  }
  void destroy(void* handle) override { EXPECT_EQ(state_.rules.erase(reinterpret_cast<std::uintptr_t>(handle)), 1u); }

 private:
  CardState& state_;
};

// Queues to which a packet is brought; more than one would be a matter of luck.
std::vector<std::uint16_t> queues_for(const CardState& state, IpAddress address, std::uint16_t port, std::uint8_t number) {
  std::vector<std::uint16_t> queues;
  for (const auto& [handle, rule] : state.rules) {
    if (rule.destination == address && rule.protocol == number && (port & rule.port_mask) == rule.port) queues.push_back(rule.queue);
  }
  return queues;
}

TEST(PortBlocks, CoverARangeOnce) {
  const std::pair<std::uint16_t, std::uint16_t> ranges[] = {{1, 1}, {1, 65'535}, {0, 65'535}, {1'024, 65'535}, {1'025, 33'279}, {33'280, 65'534}, {7, 8}};
  for (const auto& [first, last] : ranges) {
    const auto blocks = blocks_of(first, last);
    EXPECT_LE(blocks.size(), 30u);
    for (std::uint32_t port = 0; port < 65'536; ++port) {
      std::size_t count = 0;
      for (const PortBlock& block : blocks) count += (port & block.mask) == block.port ? 1 : 0;
      ASSERT_EQ(count, port >= first && port <= last ? 1u : 0u) << first << "-" << last << " port " << port;
    }
  }
}

struct Pools {
  explicit Pools(std::uint16_t first, std::uint16_t last)
      : buffer(small_snapshot(1, [&](SnapshotWriter& writer) {
          const IpAddress addresses[] = {*IpAddress::parse("10.2.0.101"), *IpAddress::parse("fd00:2::101")};
          writer.add_snat_pool("more", addresses, first, last);
        })),
        tables(*Snapshot::verify(std::as_const(buffer).bytes())) {}
  SnapshotBuffer buffer;
  Snapshot tables;
};

TEST(FlowRules, EverySnatPortComesToTheQueueOfItsLcore) {
  for (const std::uint32_t workers : {2u, 3u}) {
    const Pools pools(20'000, 20'999);
    CardState state;
    FlowRules rules(std::make_unique<Card>(state));
    ASSERT_TRUE(rules.update(flow_rules_for(pools.tables, workers)));
    for (const SnatPoolRow& pool : pools.tables.snat_pools()) {
      const auto addresses = pools.tables.snat_addresses().subspan(pool.first_address, pool.address_count_v4 + pool.address_count_v6);
      for (std::uint32_t port = 1; port < 65'536; port += 7) {
        const auto owner = owner_of_port(pool, static_cast<std::uint16_t>(port), workers);
        const auto expected = owner ? std::vector<std::uint16_t>{static_cast<std::uint16_t>(*owner)} : std::vector<std::uint16_t>{};
        for (const IpAddress& address : addresses) {
          ASSERT_EQ(queues_for(state, address, static_cast<std::uint16_t>(port), protocol::tcp), expected) << address.text() << " " << port;
          ASSERT_EQ(queues_for(state, address, static_cast<std::uint16_t>(port), protocol::udp), expected);
        }
      }
    }
    EXPECT_TRUE(queues_for(state, *IpAddress::parse("10.9.0.1"), 30'000, protocol::tcp).empty()) << "a VIP keeps its RSS";
  }
}

TEST(FlowRules, OnlyWhatChangesIsTouched) {
  const Pools before(20'000, 20'999), after(20'000, 21'999);
  CardState state;
  {
    FlowRules rules(std::make_unique<Card>(state));
    ASSERT_TRUE(rules.update(flow_rules_for(before.tables, 2)));
    const std::size_t created = state.created;
    ASSERT_TRUE(rules.update(flow_rules_for(before.tables, 2)));
    EXPECT_EQ(state.created, created);
    ASSERT_TRUE(rules.update(flow_rules_for(after.tables, 2)));
    EXPECT_EQ(state.rules.size(), flow_rules_for(after.tables, 2).size());
    EXPECT_LT(state.created - created, state.rules.size()) << "the other pool's rules stay";
  }
  EXPECT_TRUE(state.rules.empty()) << "the card is left as it was";
}

TEST(FlowRules, ARefusedRuleLeavesNone) {
  const Pools before(20'000, 20'999), after(20'000, 40'000);
  CardState state;
  FlowRules rules(std::make_unique<Card>(state));
  ASSERT_TRUE(rules.update(flow_rules_for(before.tables, 2)));
  state.room = state.rules.size();
  const auto updated = rules.update(flow_rules_for(after.tables, 2));
  ASSERT_FALSE(updated);
  EXPECT_TRUE(updated.error().message.starts_with("the driver refuses the rule for ")) << updated.error().message;
  EXPECT_TRUE(updated.error().message.ends_with(": the table is full"));
  EXPECT_TRUE(state.rules.empty());
  EXPECT_EQ(rules.count(), 0u);
}

TEST(FlowRules, TooManyAreRefused) {
  CardState state;
  FlowRules rules(std::make_unique<Card>(state));
  std::vector<FlowRule> many(flow_rules_max + 1);
  EXPECT_FALSE(rules.update(many));
  EXPECT_EQ(state.created, 0u);
}

}  // namespace
}  // namespace sluice::flow_rules_test
