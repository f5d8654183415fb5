// Which way of steering each port gets, and when one is given up.
#include "dataplane/io/steering.h"

#include <gtest/gtest.h>
#include <rte_ethdev.h>

namespace sluice::steering_test {
namespace {

constexpr Steering hash_then_handoff[] = {Steering::snat_port_hash, Steering::handoff};
constexpr Steering all_ways[] = {Steering::snat_port_hash, Steering::flow_rules, Steering::handoff};
constexpr Steering rules_then_handoff[] = {Steering::flow_rules, Steering::handoff};
constexpr Steering only_handoff[] = {Steering::handoff};

RssFacts facts(std::size_t buckets, std::uint16_t queues) {
  RssFacts rss;
  rss.key = own_rss_key({1, 2}, 40);
  for (std::size_t i = 0; i < buckets; ++i) rss.queue_of_bucket.push_back(static_cast<std::uint16_t>(i % queues));
  rss.hash_fields = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
  return rss;
}

SteeringCandidate candidate(std::string name, std::span<const Steering> ways, std::uint16_t queues, Result<RssFacts> rss) {
  return {std::move(name), "fast", "net_fast", ways, queues, std::move(rss)};
}

TEST(PlanSteering, OneWorkerNeedsNone) {
  const SteeringCandidate ports[] = {candidate("a", hash_then_handoff, 1, facts(128, 1))};
  const SteeringPlan plan = plan_steering(ports, 1);
  EXPECT_EQ(plan.choices[0].way, Steering::none);
  EXPECT_FALSE(plan.hash);
}

TEST(PlanSteering, PortsThatHashAlikeHash) {
  const SteeringCandidate ports[] = {candidate("a", hash_then_handoff, 4, facts(128, 4)),
                                     candidate("b", hash_then_handoff, 4, facts(512, 4)),
                                     candidate("c", only_handoff, 4, facts(128, 4))};
  const SteeringPlan plan = plan_steering(ports, 4);
  EXPECT_EQ(plan.choices[0].way, Steering::snat_port_hash);
  EXPECT_EQ(plan.choices[0].reason, "key and table read back from the device");
  EXPECT_EQ(plan.choices[1].way, Steering::snat_port_hash);
  EXPECT_EQ(plan.choices[2].way, Steering::handoff);
  ASSERT_TRUE(plan.hash);
  EXPECT_EQ(plan.hash->lcore_of_bucket.size(), 128u);
  EXPECT_TRUE(plan.hash->has_tcp_v4 && plan.hash->has_tcp_v6);
  EXPECT_FALSE(plan.hash->has_udp_v4 || plan.hash->has_udp_v6);
}

struct Refusal {
  const char* name;
  std::uint16_t queues;
  void (*spoil)(Result<RssFacts>&);
  const char* reason;
};

class PlanSteeringRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(PlanSteeringRefuses, AndSaysWhy) {
  Result<RssFacts> rss = facts(128, GetParam().queues);
  GetParam().spoil(rss);
  const SteeringCandidate ports[] = {candidate("a", hash_then_handoff, GetParam().queues, rss)};
  const SteeringPlan plan = plan_steering(ports, 2);
  EXPECT_EQ(plan.choices[0].way, Steering::handoff);
  EXPECT_EQ(plan.choices[0].reason, std::string("SNAT_PORT_HASH: ") + GetParam().reason);
  EXPECT_FALSE(plan.hash);
}

INSTANTIATE_TEST_SUITE_P(
    Reasons, PlanSteeringRefuses,
    testing::Values(Refusal{"one_queue", 1, [](Result<RssFacts>&) {}, "one queue for 2 workers"},
                    Refusal{"silent_driver", 2, [](Result<RssFacts>& rss) { rss = fail("the driver does not tell its hash key"); },
                            "the driver does not tell its hash key"},
                    Refusal{"short_key", 2, [](Result<RssFacts>& rss) { rss->key.resize(39); }, "a hash key of 39 bytes is too short"},
                    Refusal{"odd_table", 2, [](Result<RssFacts>& rss) { rss->queue_of_bucket.resize(100); },
                            "a table of 100 entries cannot be indexed by hash"},
                    Refusal{"empty_table", 2, [](Result<RssFacts>& rss) { rss->queue_of_bucket.clear(); },
                            "a table of 0 entries cannot be indexed by hash"},
                    Refusal{"unused_queue", 2, [](Result<RssFacts>& rss) { rss->queue_of_bucket.assign(128, 0); },
                            "its table leads no packet to worker 1"},
                    Refusal{"no_ports", 2, [](Result<RssFacts>& rss) { rss->hash_fields = RTE_ETH_RSS_IPV4; },
                            "it does not hash TCP ports"}),
    [](const auto& given) { return given.param.name; });

TEST(PlanSteering, AnotherKeyOrTableIsAnotherHash) {
  RssFacts other_key = facts(128, 2), other_table = facts(128, 2);
  other_key.key[39] ^= 1;
  std::swap(other_table.queue_of_bucket[0], other_table.queue_of_bucket[1]);
  const SteeringCandidate ports[] = {candidate("a", hash_then_handoff, 2, facts(128, 2)),
                                     candidate("b", hash_then_handoff, 2, other_key),
                                     candidate("c", all_ways, 2, other_table)};
  const SteeringPlan plan = plan_steering(ports, 2);
  EXPECT_EQ(plan.choices[1].reason, "SNAT_PORT_HASH: its key, table or hash fields are not those of port a");
  EXPECT_EQ(plan.choices[2].way, Steering::handoff);
  EXPECT_EQ(plan.choices[2].reason,
            "SNAT_PORT_HASH: its key, table or hash fields are not those of port a; FLOW_RULES: flows belong where port a hashes them");
}

TEST(PlanSteering, RulesAreNextWhenNobodyHashes) {
  const SteeringCandidate ports[] = {candidate("a", all_ways, 2, fail("the driver has no table of queues")),
                                     candidate("b", rules_then_handoff, 2, fail("not asked"))};
  const SteeringPlan plan = plan_steering(ports, 2);
  EXPECT_EQ(plan.choices[0].way, Steering::flow_rules);
  EXPECT_EQ(plan.choices[0].reason, "SNAT_PORT_HASH: the driver has no table of queues");
  EXPECT_EQ(plan.choices[1].way, Steering::flow_rules);
  EXPECT_FALSE(plan.hash);

  const SteeringCandidate narrow[] = {candidate("a", rules_then_handoff, 2, fail("not asked"))};
  EXPECT_EQ(plan_steering(narrow, 4).choices[0].reason, "FLOW_RULES: 2 queues for 4 workers");
}

TEST(OwnRssKey, IsTheSameForTheSameSeed) {
  EXPECT_EQ(own_rss_key({1, 2}, 52), own_rss_key({1, 2}, 52));
  EXPECT_NE(own_rss_key({1, 2}, 40), own_rss_key({1, 3}, 40));
  EXPECT_EQ(own_rss_key({1, 2}, 52).size(), 52u);
}

TEST(SteeringProof, IsKeptWhenFewRepliesAreHanded) {
  SteeringProof proof;
  EXPECT_FALSE(proof.observe(50, 2));
  EXPECT_EQ(proof.state(), SteeringProof::State::open);
  EXPECT_TRUE(proof.observe(62, 2));
  EXPECT_EQ(proof.state(), SteeringProof::State::kept);
  EXPECT_FALSE(proof.observe(1'000, 40)) << "nothing new";
}

TEST(SteeringProof, IsBrokenAtOnceOrLater) {
  SteeringProof at_once;
  EXPECT_TRUE(at_once.observe(32, 32));
  EXPECT_EQ(at_once.state(), SteeringProof::State::broken);
  EXPECT_FALSE(at_once.observe(100'000, 32)) << "for good";

  SteeringProof later;
  later.observe(1'000'000, 0);
  EXPECT_FALSE(later.observe(1'000'030, 30)) << "too few to tell";
  EXPECT_TRUE(later.observe(1'000'050, 50)) << "however many were right before";
  EXPECT_EQ(later.state(), SteeringProof::State::broken);
}

}  // namespace
}  // namespace sluice::steering_test
