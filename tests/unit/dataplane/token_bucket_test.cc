#include "dataplane/pipeline/token_bucket.h"

#include <gtest/gtest.h>

namespace sluice::token_bucket_test {
namespace {

std::uint32_t taken(TokenBucket& bucket, Instant from, std::uint64_t ms, std::uint32_t rate,
                    int tries_per_ms) {
  std::uint32_t count = 0;
  for (std::uint64_t t = 0; t < ms; ++t) {
    for (int i = 0; i < tries_per_ms; ++i) count += bucket.take({from.ms + t}, rate) ? 1 : 0;
  }
  return count;
}

TEST(TokenBucket, GivesItsRateAndNoMoreThanATenthOfASecondAtOnce) {
  for (const std::uint32_t rate : {1u, 7u, 10u, 999u, 1'000u, 250'000u}) {
    TokenBucket bucket;
    const Instant start{123'456'789};
    EXPECT_EQ(taken(bucket, start, 1, rate, 100'000), std::max(1u, rate / 10)) << rate;
    const std::uint32_t in_ten_seconds = taken(bucket, {start.ms + 1}, 10'000, rate, 300);
    EXPECT_NEAR(in_ten_seconds, rate * 10.0, rate / 10.0 + 1) << rate;
  }
}

TEST(TokenBucket, ZeroIsNone) {
  TokenBucket bucket;
  EXPECT_EQ(taken(bucket, {1}, 10'000, 0, 2), 0u);
}

TEST(TokenBucket, TheLcoresTogetherHaveTheRateRoundedUp) {
  EXPECT_EQ(share_of(1'000, 1), 1'000u);
  EXPECT_EQ(share_of(1'000, 3), 334u);
  EXPECT_EQ(share_of(1, 16), 1u);
  EXPECT_EQ(share_of(0, 16), 0u);
}

}  // namespace
}  // namespace sluice::token_bucket_test
