// TscClock: CLOCK_MONOTONIC in milliseconds for the price of one rdtsc. DPDK knows the TSC's rate to some
// tenths of a percent only, so the clock is set anew every 50 ms; it never goes back.
// Threads: one clock a thread.
#pragma once

#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdint>

#include "dataplane/base/units.h"

namespace sluice {

inline std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

inline std::uint64_t unix_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

class TscClock {
 public:
  explicit TscClock(std::uint64_t tsc_hz) : ticks_per_ms_(tsc_hz / 1'000) { set(__rdtsc()); }

  Instant now() {
    const std::uint64_t ticks = __rdtsc();
    if (ticks < next_ms_ticks_) [[likely]] return now_;
    if (ticks - set_ticks_ > 50 * ticks_per_ms_) set(ticks);
    const std::uint64_t elapsed_ms = (ticks - set_ticks_) / ticks_per_ms_;
    now_.ms = std::max(now_.ms, set_ms_ + elapsed_ms);
    next_ms_ticks_ = set_ticks_ + (elapsed_ms + 1) * ticks_per_ms_;
    return now_;
  }

 private:
  void set(std::uint64_t ticks) {
    set_ticks_ = ticks;
    set_ms_ = monotonic_ns() / 1'000'000;
  }

  std::uint64_t ticks_per_ms_;
  std::uint64_t set_ticks_ = 0;
  std::uint64_t set_ms_ = 0;
  std::uint64_t next_ms_ticks_ = 0;
  Instant now_;
};

}  // namespace sluice
