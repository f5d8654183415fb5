#include "perf/pktgen/flows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "dataplane/net/headers.h"

namespace sluice::perf::flows_test {
namespace {

const Clients clients{*parse_address_range("198.18.0.1+5"), *parse_address_range("2001:2::1+7"),
                      *parse_port_span("1024-1123")};

Tuples tuples(std::uint32_t flows,
              std::vector<std::string> vips = {"10.9.0.1:80", "[fd00::1]:443"}) {
  std::vector<AddressPort> parsed;
  for (const std::string& vip : vips) parsed.push_back(*parse_address_port(vip));
  return *Tuples::create(parsed, clients, protocol::tcp, flows);
}

TEST(Divisor, DividesAsTheProcessorDoes) {
  Random random;
  for (const std::uint32_t by :
       {1u, 2u, 3u, 7u, 254u, 64'000u, 64'512u, 1'000'000u, 0x7fffffffu, 0x80000001u, UINT32_MAX}) {
    const Divisor divisor(by);
    for (const std::uint32_t n : {0u, 1u, by - 1, by, by + 1, UINT32_MAX - 1, UINT32_MAX}) {
      EXPECT_EQ(divisor.quotient(n), n / by) << n << " by " << by;
      EXPECT_EQ(divisor.remainder(n), n % by) << n << " by " << by;
    }
    for (int i = 0; i < 1'000; ++i) {
      const std::uint32_t n = random.next();
      ASSERT_EQ(divisor.quotient(n), n / by) << n << " by " << by;
      ASSERT_EQ(divisor.remainder(n), n % by) << n << " by " << by;
    }
  }
}

TEST(Tuples, EveryTupleIsAnotherAndIsFoundByItsReply) {
  const Tuples all = tuples(7);
  EXPECT_EQ(all.count(), 500u / 7 * 7);  // five addresses of either family, 100 ports
  std::set<std::string> seen;
  for (std::uint32_t tuple = 0; tuple < all.count(); ++tuple) {
    const FlowKey key = all.key_of(tuple);
    EXPECT_TRUE(
        seen.insert(key.source.text() + " " + std::to_string(key.source_port.host())).second);
    EXPECT_EQ(key.source.is_v4(), key.destination.is_v4());
    EXPECT_TRUE(all.is_client(key.source));
    EXPECT_EQ(all.tuple_of_reply(key.reversed()), tuple);
  }
}

TEST(Tuples, OnlyTheExactReverseIsAReply) {
  const Tuples all = tuples(10);
  const FlowKey reply = all.key_of(42).reversed();
  const auto is_reply = [&](auto change) {
    FlowKey key = reply;
    change(key);
    return all.tuple_of_reply(key).has_value();
  };
  EXPECT_TRUE(is_reply([](FlowKey&) {}));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.source = *IpAddress::parse("10.9.0.2"); }));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.source_port = be16(81); }));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.protocol = protocol::udp; }));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.destination_port = be16(1'123 + 1); }));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.destination_port = be16(1'023); }));
  EXPECT_FALSE(is_reply([](FlowKey& key) { key.destination = *IpAddress::parse("198.18.0.6"); }));
}

TEST(Tuples, ASlotGoesThroughTuplesOfItsOwn) {
  const Tuples all = tuples(7);
  std::set<std::uint32_t> seen;
  std::uint32_t tuple = 3;
  for (std::uint32_t i = 0; i < all.count() / 7; ++i) {
    EXPECT_EQ(all.slot_of(tuple), 3u);
    EXPECT_TRUE(seen.insert(tuple).second);
    tuple = all.after(tuple);
  }
  EXPECT_EQ(tuple, 3u);
}

TEST(Tuples, TooManyFlowsAreRefused) {
  const auto refused =
      Tuples::create({*parse_address_port("10.9.0.1:80")}, clients, protocol::udp, 501);
  EXPECT_EQ(refused.error().message,
            "501 flows need more than 5 client addresses with 100 ports each");
}

// Shares of draws, against what they must be.
void expect_shares(const std::vector<double>& weights, auto draw) {
  constexpr int draws = 2'000'000;
  std::vector<int> seen(weights.size());
  for (int i = 0; i < draws; ++i) ++seen[draw()];
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double wanted = weights[i] / all * draws;
    // Five standard deviations: the draws are the same in every run, so this passes or fails for
    // good.
    EXPECT_NEAR(seen[i], wanted, 5 * std::sqrt(wanted) + 1) << "entry " << i;
  }
}

TEST(Distribution, LotteryDrawsByWeight) {
  const std::vector<double> weights{7, 4, 1, 0, 100, 0.5};
  const Lottery lottery(weights);
  Random random;
  expect_shares(weights, [&] { return lottery.draw(random); });
}

TEST(Distribution, UniformDrawsAllAlike) {
  SlotOrder order({}, 50);
  expect_shares(std::vector<double>(50, 1), [&] { return order.next(); });
}

TEST(Distribution, ZipfDrawsByRank) {
  SlotOrder order({Distribution::Kind::zipf, 1.1, 0}, 1'000);
  expect_shares(zipf_weights(1'000, 1.1), [&] { return order.next(); });
}

TEST(Sizes, ImixIsSevenToFourToOne) {
  SizeOrder order(*parse_sizes("imix"), 60);
  EXPECT_NEAR(order.mean_bytes() + 4, (7 * 64 + 4 * 594 + 1'518) / 12.0, 1e-9);
  EXPECT_EQ(order.most(), 1'514);
  const std::vector<std::uint16_t> sizes{60, 590, 1'514};
  expect_shares({7, 4, 1}, [&] {
    return std::find(sizes.begin(), sizes.end(), order.next()) - sizes.begin();
  });
}

TEST(Sizes, WhatIsTooSmallIsRaised) {
  SizeOrder order(*parse_sizes("64,1518"), 80);
  for (int i = 0; i < 100; ++i) {
    const auto size = order.next();
    EXPECT_TRUE(size == 80 || size == 1'514) << size;
  }
}

}  // namespace
}  // namespace sluice::perf::flows_test
