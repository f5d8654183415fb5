#include "dataplane/lcore/alarms.h"

#include <gtest/gtest.h>

namespace sluice::alarms_test {
namespace {

struct Readings {
  std::uint64_t flows_full = 0;
  std::uint64_t operator()(Verdict verdict) const { return verdict == Verdict::drop_flows_full ? flows_full : 0; }
};

TEST(Alarms, BeginWithTheFirstLossAndEndAfterQuiet) {
  Alarms alarms;
  Readings readings;
  EXPECT_TRUE(alarms.observe(readings, {1'000}).empty());

  readings.flows_full = 2;
  const auto raised = alarms.observe(readings, {1'200});
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_TRUE(raised[0].is_raised);
  EXPECT_EQ(raised[0].alarm.verdict, Verdict::drop_flows_full);
  EXPECT_EQ(raised[0].alarm.packets, 2u);

  readings.flows_full = 5;  // goes on: still the same alarm
  EXPECT_TRUE(alarms.observe(readings, {1'400}).empty());
  ASSERT_EQ(alarms.active().size(), 1u);
  EXPECT_EQ(alarms.active()[0].packets, 5u);
  EXPECT_EQ(alarms.active()[0].since, (Instant{1'200}));

  EXPECT_TRUE(alarms.observe(readings, {11'399}).empty());
  const auto over = alarms.observe(readings, {11'400});
  ASSERT_EQ(over.size(), 1u);
  EXPECT_FALSE(over[0].is_raised);
  EXPECT_TRUE(alarms.active().empty());
}

TEST(Alarms, APacketThatIsRefusedForItsOwnSakeIsNone) {
  Alarms alarms;
  std::uint64_t count = 0;
  const auto read = [&](Verdict verdict) { return verdict == Verdict::drop_no_vip ? count : 0; };
  alarms.observe(read, {1'000});
  count = 1'000'000;
  EXPECT_TRUE(alarms.observe(read, {1'200}).empty());
}

}  // namespace
}  // namespace sluice::alarms_test
