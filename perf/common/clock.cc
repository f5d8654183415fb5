#include "perf/common/clock.h"

namespace sluice::perf {

double wall_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double tsc_hz() {
  static const double hz = [] {
    const double t0 = wall_seconds();
    const std::uint64_t c0 = tsc();
    while (wall_seconds() - t0 < 0.1) {
    }
    return static_cast<double>(tsc() - c0) / (wall_seconds() - t0);
  }();
  return hz;
}

}  // namespace sluice::perf
