// Backoff: what an lcore does when it finds nothing to do. First it goes on polling, then it pauses the
// core's pipeline, then it sleeps, a little longer each time. A packet ends all that at once.
//
// The steps keep two promises: a lull inside a stream of packets costs no sleep (32 empty polls are some
// microseconds), and an idle balancer costs some three percent of a CPU. The first packet after a long silence
// waits for at most sleep_ns_max.
#pragma once

#include <cstdint>

namespace sluice {

class Backoff {
 public:
  static constexpr std::uint32_t polls_before_pause = 4;
  static constexpr std::uint32_t polls_before_sleep = 32;
  static constexpr std::uint32_t sleep_ns_min = 10'000;
  static constexpr std::uint32_t sleep_ns_awake = 100'000;   // within the first idle second or so
  static constexpr std::uint32_t sleep_ns_max = 500'000;
  static constexpr std::uint32_t sleeps_awake = 10'000;

  struct Step {
    bool is_pause = false;
    std::uint32_t sleep_ns = 0;
  };

  void busy() { *this = Backoff(); }

  Step idle(bool may_sleep) {
    if (polls_ < polls_before_sleep) ++polls_;
    if (polls_ < polls_before_pause) return {};
    if (polls_ < polls_before_sleep || !may_sleep) return {true, 0};
    const std::uint32_t sleep_ns = sleep_ns_;
    const std::uint32_t limit = sleeps_ < sleeps_awake ? sleep_ns_awake : sleep_ns_max;
    if (sleeps_ < sleeps_awake) ++sleeps_;
    sleep_ns_ = sleep_ns_ * 2 < limit ? sleep_ns_ * 2 : limit;
    return {false, sleep_ns};
  }

 private:
  std::uint32_t polls_ = 0;
  std::uint32_t sleeps_ = 0;
  std::uint32_t sleep_ns_ = sleep_ns_min;
};

}  // namespace sluice
