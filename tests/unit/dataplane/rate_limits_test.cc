// Rates over all lcores, in virtual time: what a lone one gets, and what many get together, each on a thread of its own.
#include "dataplane/pipeline/rate_limits.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

namespace sluice::rate_limits_test {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr Instant start{123'456'789};
using Of = RateLimits::Of;

RateLimitRow rate_of(std::uint64_t count_per_second, std::uint64_t burst_ns = second_ns / 10) {
  return {second_ns / count_per_second, burst_ns};
}
IpAddress source(std::uint32_t number) { return IpAddress::v4(be32(0x0a000000 + number)); }

// In so much time, when all asks are refused in the end: the burst, what the time brings, and `extra_ms` of the rate.
std::uint64_t most(const RateLimitRow& rate, std::uint64_t ms, std::uint64_t extra_ms) {
  return (std::max(rate.burst_ns, rate.interval_ns) + (ms + extra_ms) * 1'000'000) / rate.interval_ns;
}

// `take(now)` is asked in each of `ms` milliseconds until it refuses.
template <class Take>
std::uint64_t taken(std::uint64_t ms, Take take) {
  std::uint64_t count = 0;
  for (std::uint64_t t = 0; t < ms; ++t) {
    while (take(start + Milliseconds{t})) ++count;
  }
  return count;
}

// Of a high rate there are enough in a short time.
std::uint64_t duration_ms(std::uint64_t rate) { return rate > 1'000 ? 200 : 2'000; }

TEST(RateLimits, ALoneLcoreGetsTheRateExactly) {
  SharedLimits shared(HashSecret{5, 6});
  RateLimits limits(shared, 1);
  std::uint32_t vip = 0;
  for (const std::uint64_t rate : {1, 7, 10, 999, 1'000, 30'000, 1'000'000}) {
    const RateLimitRow row = rate_of(rate);
    const std::uint64_t ms = duration_ms(rate);
    ++vip;
    EXPECT_EQ(taken(ms, [&](Instant now) { return limits.take(vip, Of::new_flows, row, now); }), most(row, ms - 1, 1)) << rate;
    EXPECT_EQ(taken(ms, [&](Instant now) { return limits.take(vip, Of::packets, row, now); }), most(row, ms - 1, 1)) << rate;
    EXPECT_EQ(taken(ms, [&](Instant now) { return limits.take(source(1), vip, Of::packets, row, now); }), most(row, ms - 1, 1)) << rate;
  }
}

// Others that are silent, or have been heard once, take nothing away from it but what they have taken.
TEST(RateLimits, WhoeverComesToOneOfManyLcoresGetsAllOfTheRate) {
  for (const std::uint32_t lcore_count : {2u, 8u, 16u}) {
    SharedLimits shared(HashSecret{5, 6});
    std::vector<std::unique_ptr<RateLimits>> lcores;
    for (std::uint32_t i = 0; i < lcore_count; ++i) lcores.push_back(std::make_unique<RateLimits>(shared, lcore_count));
    std::uint32_t vip = 0;
    for (const std::uint64_t rate : {1, 7, 999, 1'000, 30'000, 1'000'000}) {
      const RateLimitRow row = rate_of(rate);
      const std::uint64_t ms = duration_ms(rate);
      ++vip;
      EXPECT_EQ(taken(ms, [&](Instant now) { return lcores[1]->take(vip, Of::packets, row, now); }), most(row, ms - 1, 1)) << rate;
      EXPECT_EQ(taken(ms, [&](Instant now) { return lcores[1]->take(source(1), vip, Of::packets, row, now); }), most(row, ms - 1, 1)) << rate;
      if (rate < 1'000) continue;  // else one packet of each is already a good part of the burst
      std::uint64_t others = 0;
      Instant heard{};
      const std::uint64_t count = taken(ms, [&](Instant now) {
        if (now >= heard + Milliseconds{100}) {
          heard = now;
          others += lcores[0]->take(source(2), vip, Of::packets, row, now);
        }
        return lcores[1]->take(source(2), vip, Of::packets, row, now);
      });
      EXPECT_EQ(others, ms / 100);
      EXPECT_LE(count + others, most(row, ms - 1, 1));
      EXPECT_GE(count + others + std::max<std::uint64_t>(1, rate / 1'000 / lcore_count), most(row, ms - 1, 1)) << rate;
    }
  }
}

// All ask for all they can get, in the same milliseconds.
class ManyLcores : public testing::TestWithParam<std::uint64_t> {};

TEST_P(ManyLcores, TogetherGetTheRateAndNoMoreThanTheBoundAbove) {
  constexpr std::uint32_t lcore_count = 4;
  constexpr std::uint64_t ms = 200;
  const RateLimitRow row = rate_of(GetParam());
  SharedLimits shared(HashSecret{5, 6});
  std::atomic<std::uint64_t> of_vip{0}, of_source[3]{};
  std::barrier together(lcore_count);
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<RateLimits>> lcores;
  for (std::uint32_t i = 0; i < lcore_count; ++i) lcores.push_back(std::make_unique<RateLimits>(shared, lcore_count));
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
    threads.emplace_back([&, lcore] {
      for (std::uint64_t t = 0; t < ms; ++t) {
        together.arrive_and_wait();
        const Instant now = start + Milliseconds{t};
        while (lcores[lcore]->take(1, Of::packets, row, now)) ++of_vip;
        for (std::uint32_t i = 0; i < 3; ++i) {
          while (lcores[lcore]->take(source(i), 1, Of::packets, row, now)) ++of_source[i];
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(of_vip, most(row, ms - 1, 2));
  EXPECT_GE(of_vip, most(row, ms - 1, 1));
  for (const auto& count : of_source) {
    EXPECT_LE(count, most(row, ms - 1, 3) + lcore_count);  // all of them may have been the first to see it
    EXPECT_GE(count, most(row, ms - 1, 1));
  }
}
INSTANTIATE_TEST_SUITE_P(Rates, ManyLcores, testing::Values(10, 3'000, 20'000, 300'000, 2'000'000));

// A long burst, which is there at once and of which all take as fast as they can: one by one, and in portions.
TEST(RateLimits, NothingIsGivenToTwoWhoAskAtOnce) {
  constexpr std::uint32_t lcore_count = 4;
  for (const std::uint64_t interval_ns : {1'000'000, 10'000}) {
    const RateLimitRow row{interval_ns, 400'000 * interval_ns};
    SharedLimits shared(HashSecret{5, 6});
    std::vector<std::unique_ptr<RateLimits>> lcores;
    for (std::uint32_t i = 0; i < lcore_count; ++i) lcores.push_back(std::make_unique<RateLimits>(shared, lcore_count));
    ASSERT_TRUE(lcores[0]->take(source(1), 1, Of::packets, row, start));  // known to all from now on
    std::atomic<std::uint64_t> of_vip{0}, of_source{1};
    std::barrier together(lcore_count);
    std::vector<std::thread> threads;
    for (auto& lcore : lcores) {
      threads.emplace_back([&] {
        std::uint64_t count = 0;
        together.arrive_and_wait();
        while (lcore->take(1, Of::packets, row, start)) ++count;
        of_vip += std::exchange(count, 0);
        together.arrive_and_wait();
        while (lcore->take(source(1), 1, Of::packets, row, start)) ++count;
        of_source += count;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(of_vip, most(row, 0, 1)) << interval_ns;
    EXPECT_EQ(of_source, most(row, 0, 1)) << interval_ns;
  }
}

// An lcore keeps what it has taken ahead, however long, and that is at most its part of a millisecond's worth.
TEST(RateLimits, WhatIsTakenAheadIsSmallAndNotLost) {
  constexpr std::uint32_t lcore_count = 8;
  SharedLimits shared(HashSecret{5, 6});
  const RateLimitRow row = rate_of(1'000'000, 1'000'000);
  std::vector<std::unique_ptr<RateLimits>> lcores;
  for (std::uint32_t i = 0; i < lcore_count; ++i) lcores.push_back(std::make_unique<RateLimits>(shared, lcore_count));
  for (auto& lcore : lcores) EXPECT_TRUE(lcore->take(1, Of::packets, row, start));
  std::uint64_t count = lcore_count;
  const Instant later = start + Milliseconds{3'600'000};
  for (auto& lcore : lcores) {
    while (lcore->take(1, Of::packets, row, later)) ++count;
  }
  // 1000 of the burst, 1000 of the clock's millisecond, and of the 1000 that they took before all that they had not used.
  EXPECT_EQ(count, 3'000u);
}

// With more sources than places all begin anew at worst; nobody is refused for what another has taken.
TEST(RateLimits, ASourceThatIsGivenUpOwesNothingToTheNext) {
  for (const std::uint32_t lcore_count : {1u, 2u}) {
    SharedLimits shared(HashSecret{5, 6});
    RateLimits limits(shared, lcore_count);
    const RateLimitRow row = rate_of(1, 10 * second_ns);
    for (std::uint32_t i = 0; i < 4 * SharedLimits::source_count_max; ++i) {
      for (int packet = 0; packet < 5; ++packet) ASSERT_TRUE(limits.take(source(i), 1, Of::packets, row, start)) << i;
    }
  }
}

TEST(RateLimits, ASourceHasARateForEachVipAndKindAndAnIpv6OneForItsNetwork) {
  SharedLimits shared(HashSecret{5, 6});
  RateLimits limits(shared, 2);
  const RateLimitRow row = rate_of(1, second_ns);
  const auto is_taken = [&](IpAddress from, std::uint32_t vip, Of what) { return limits.take(from, vip, what, row, start); };
  for (const std::uint32_t vip : {1u, 2u}) {
    for (const Of what : {Of::packets, Of::new_flows}) {
      EXPECT_TRUE(is_taken(source(1), vip, what));
      EXPECT_FALSE(is_taken(source(1), vip, what));
    }
  }
  EXPECT_TRUE(is_taken(*IpAddress::parse("2001:db8:0:1::1"), 1, Of::packets));
  EXPECT_FALSE(is_taken(*IpAddress::parse("2001:db8:0:1::2"), 1, Of::packets));
  EXPECT_TRUE(is_taken(*IpAddress::parse("2001:db8:0:2::1"), 1, Of::packets));
}

TEST(RateLimits, IcmpOfATenthOfASecondMayComeAtOnceOnWhicheverLcore) {
  for (const std::uint32_t rate : {1u, 7u, 10u, 1'000u, 250'000u}) {
    SharedLimits shared(HashSecret{5, 6});
    RateLimits one(shared, 2), other(shared, 2);
    bool is_turn_of_other = false;
    const auto take = [&](Instant now) { return ((is_turn_of_other = !is_turn_of_other) ? other : one).take(RateLimits::Icmp::errors, rate, now); };
    EXPECT_EQ(taken(2'000, take), most(rate_of(rate), 1'999, 1)) << rate;
    EXPECT_TRUE(one.take(RateLimits::Icmp::echoes, rate, start));
    EXPECT_FALSE(one.take(RateLimits::Icmp::echoes, 0, start));
  }
}

}  // namespace
}  // namespace sluice::rate_limits_test
