#include "perf/pktgen/pacer.h"

#include <gtest/gtest.h>

#include <limits>

#include "perf/common/histogram.h"
#include "perf/pktgen/stamp.h"

namespace sluice::perf::pacer_test {
namespace {

constexpr double ticks_per_second = 1e9;

TEST(Pacer, OwesExactlyItsRate) {
  Pacer pacer(250'000, ticks_per_second, 1'000);
  std::uint64_t sent = 0;
  for (std::uint64_t now = 1'000; now <= 1'000 + 2'000'000'000ull; now += 3'333) {
    const std::uint32_t due = pacer.due(now, 32);
    pacer.pay(due);
    sent += due;
  }
  EXPECT_NEAR(static_cast<double>(sent), 500'000, 2);
  EXPECT_EQ(pacer.take_forgotten(), 0u);
}

TEST(Pacer, ForgetsWhatIsTooLateAndSaysHowMuch) {
  Pacer pacer(1e6, ticks_per_second, 0, 0.001);
  std::uint64_t sent = 0;
  for (int i = 0; i < 200; ++i) {  // ten milliseconds in which nobody looked
    const std::uint32_t due = pacer.due(10'000'000, 32);
    pacer.pay(due);
    sent += due;
  }
  EXPECT_EQ(sent, 1'000u);
  EXPECT_EQ(pacer.take_forgotten(), 9'000u);
  EXPECT_EQ(pacer.take_forgotten(), 0u);
}

TEST(Pacer, WithoutALimitAllThatFits) {
  Pacer pacer(std::numeric_limits<double>::infinity(), ticks_per_second, 0);
  EXPECT_TRUE(pacer.is_unlimited());
  EXPECT_EQ(pacer.due(1, 32), 32u);
}

TEST(Arrivals, LateAndTwiceAreReorderedGapsAreNot) {
  Arrivals arrivals;
  arrivals.expect_from(65'534);
  EXPECT_FALSE(arrivals.arrived(65'534));
  EXPECT_FALSE(arrivals.arrived(0));  // 65,535 is missing
  EXPECT_TRUE(arrivals.arrived(65'535));
  EXPECT_TRUE(arrivals.arrived(0));  // twice
  EXPECT_FALSE(arrivals.arrived(1));
}

TEST(Stamp, ComesBackAsItWent) {
  std::byte payload[stamp_bytes];
  Stamp{0xbeef, 0xdeadbeef}.write(payload);
  EXPECT_EQ(Stamp::read(payload).number, 0xbeef);
  EXPECT_EQ(Stamp::read(payload).time, 0xdeadbeefu);
}

TEST(Histogram, QuantilesAreWithinAThirtySecond) {
  Histogram histogram;
  for (std::uint64_t value = 1; value <= 100'000; ++value) histogram.add(value);
  for (const double share : {0.1, 0.5, 0.9, 0.99, 0.999}) {
    const double wanted = share * 100'000;
    EXPECT_NEAR(static_cast<double>(histogram.quantile(share)), wanted, wanted / 32 + 1) << share;
  }
  EXPECT_EQ(histogram.quantile(1), 100'000u);
  EXPECT_EQ(histogram.min(), 1u);
  EXPECT_EQ(histogram.max(), 100'000u);
  EXPECT_EQ(histogram.total(), 100'000u);
}

TEST(Histogram, SmallValuesAreExactAndTheLargestHasAPlace) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0u);
  for (std::uint64_t value = 0; value < 64; ++value) histogram.add(value);
  EXPECT_EQ(histogram.quantile(0.5), 32u);
  histogram.add(UINT64_MAX);
  EXPECT_EQ(histogram.max(), UINT64_MAX);
  EXPECT_EQ(histogram.quantile(1), UINT64_MAX);
  Histogram sum;
  sum.add(histogram);
  sum.add(histogram);
  EXPECT_EQ(sum.total(), 2 * histogram.total());
}

}  // namespace
}  // namespace sluice::perf::pacer_test
