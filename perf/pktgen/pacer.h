// Pacer: how many packets are due now. Pure; time is TSC ticks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace sluice::perf {

class Pacer {
 public:
  // `backlog_seconds`: what is older is forgotten, and counted: a generator that was kept from its
  // core must not make up for it in one flood.
  Pacer(double per_second, double ticks_per_second, std::uint64_t now,
        double backlog_seconds = 0.002)
      : per_tick_(per_second / ticks_per_second),
        backlog_(std::max(64.0, per_second * backlog_seconds)),
        begin_(now) {}

  bool is_unlimited() const { return std::isinf(per_tick_); }

  std::uint32_t due(std::uint64_t now, std::uint32_t most) {
    if (is_unlimited()) return most;
    double owed = static_cast<double>(now - begin_) * per_tick_ - paid_;
    if (owed > backlog_) {
      const double forgotten = std::floor(owed - backlog_);
      paid_ += forgotten;
      owed -= forgotten;
      forgotten_ += static_cast<std::uint64_t>(forgotten);
    }
    return owed < 1 ? 0 : std::min(most, static_cast<std::uint32_t>(owed));
  }
  void pay(std::uint32_t packets) { paid_ += packets; }
  std::uint64_t take_forgotten() {
    const std::uint64_t count = forgotten_;
    forgotten_ = 0;
    return count;
  }

 private:
  double per_tick_, backlog_;
  std::uint64_t begin_;
  double paid_ = 0;
  std::uint64_t forgotten_ = 0;
};

}  // namespace sluice::perf
