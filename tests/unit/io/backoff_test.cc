#include "dataplane/lcore/backoff.h"

#include <gtest/gtest.h>

namespace sluice::backoff_test {
namespace {

TEST(Backoff, polls_then_pauses_then_sleeps) {
  Backoff backoff;
  std::uint32_t polls = 0, pauses = 0;
  Backoff::Step step;
  while ((step = backoff.idle(true)).sleep_ns == 0) ++(step.is_pause ? pauses : polls);
  EXPECT_EQ(polls, Backoff::polls_before_pause - 1);
  EXPECT_EQ(polls + pauses, Backoff::polls_before_sleep - 1);
  EXPECT_EQ(step.sleep_ns, Backoff::sleep_ns_min);
}

TEST(Backoff, sleeps_grow_to_a_limit_and_to_another_after_a_long_silence) {
  Backoff backoff;
  std::uint32_t longest_awake = 0, longest = 0;
  for (std::uint32_t i = 0; i < Backoff::polls_before_sleep + 100; ++i) {
    longest_awake = std::max(longest_awake, backoff.idle(true).sleep_ns);
  }
  for (std::uint32_t i = 0; i < 2 * Backoff::sleeps_awake; ++i) longest = std::max(longest, backoff.idle(true).sleep_ns);
  EXPECT_EQ(longest_awake, Backoff::sleep_ns_awake);
  EXPECT_EQ(longest, Backoff::sleep_ns_max);
}

TEST(Backoff, a_packet_ends_it) {
  Backoff backoff;
  for (int i = 0; i < 1'000; ++i) backoff.idle(true);
  backoff.busy();
  const Backoff::Step step = backoff.idle(true);
  EXPECT_FALSE(step.is_pause);
  EXPECT_EQ(step.sleep_ns, 0u);
}

TEST(Backoff, never_sleeps_when_it_must_not) {
  Backoff backoff;
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(backoff.idle(false).sleep_ns, 0u);
}

}  // namespace
}  // namespace sluice::backoff_test
