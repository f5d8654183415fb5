// Measuring on a shared machine: the TSC, a calibration of the core clock beside every repeat, and medians.
//
// clk is a TSC cycle. The core may run slower or faster than the TSC, and another guest may take the core away
// for a while; Calibration shows both, and a repeat taken below the limit is thrown away and taken again.
#pragma once

#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sluice::perf {

inline std::uint64_t tsc() {
  unsigned aux;
  return __rdtscp(&aux);
}

inline double wall_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// TSC cycles per second.
inline double tsc_hz() {
  const double t0 = wall_seconds();
  const std::uint64_t c0 = tsc();
  while (wall_seconds() - t0 < 0.1) {
  }
  return static_cast<double>(tsc() - c0) / (wall_seconds() - t0);
}

// Dependent additions per TSC cycle over a few milliseconds: the core clock as a multiple of the TSC's.
inline double adds_per_clk() {
  constexpr std::uint64_t adds = 8'000'000;
  std::uint64_t x = 1;
  const std::uint64_t begin = tsc();
  for (std::uint64_t i = 0; i < adds / 8; ++i) {
    asm volatile(
        "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\t"
        "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0"
        : "+r"(x));
  }
  return static_cast<double>(adds) / static_cast<double>(tsc() - begin);
}

struct Figure {
  double median = 0, min = 0, max = 0;
};

inline Figure figure_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples.front(), samples.back()};
}

// Takes `repeats` samples with the core at its usual clock; gives up insisting after four times as many tries.
template <class Sample>
Figure measure(int repeats, Sample sample) {
  static const double usual = [] {
    double best = 0;
    for (int i = 0; i < 10; ++i) best = std::max(best, adds_per_clk());
    return best;
  }();
  std::vector<double> good, all;
  for (int tries = 0; static_cast<int>(good.size()) < repeats && tries < 4 * repeats; ++tries) {
    const double before = adds_per_clk();
    const double value = sample();
    const double after = adds_per_clk();
    all.push_back(value);
    if (std::min(before, after) > 0.9 * usual) good.push_back(value);
  }
  return figure_of(good.empty() ? all : good);
}

}  // namespace sluice::perf
