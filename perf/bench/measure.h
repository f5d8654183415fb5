// Measuring on a shared machine: the TSC, a calibration of the core clock around every repeat, and
// contestants that take turns, so that a ratio compares the same moments.
//
// clk is a TSC cycle. The core may run slower or faster than the TSC, and another guest may take
// the core away for a while; the calibration shows both, and a round in which it was below the
// limit is thrown away and taken again.
#pragma once

#include <time.h>
#include <x86intrin.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace sluice::perf {

inline std::uint64_t tsc() {
  unsigned aux;
  return __rdtscp(&aux);
}

double wall_seconds();

// TSC cycles per second, measured once against CLOCK_MONOTONIC_RAW.
double tsc_hz();

// Dependent additions per TSC cycle over some milliseconds: the core clock as a multiple of the
// TSC's.
double adds_per_clk();

struct Figure {
  double median = 0, min = 0, max = 0;
};

double median_of(std::vector<double> samples);
Figure figure_of(std::vector<double> samples);

// What became of the repeats of this process.
struct Calibration {
  double usual_ghz = 0;   // the core clock when it is left alone
  double lowest_ghz = 0;  // in a repeat that was kept
  int kept = 0;           // repeats
  int rejected = 0;       // because the core was slower than 0.9 of its usual clock
};
const Calibration& calibration();

using Sample = std::function<double()>;

// The samples of each contestant, taken in turn: A B C, A B C, ... One of them is `repeats` long;
// after three times as many tries it makes do with what it has.
std::vector<std::vector<double>> take_turns(int repeats, const std::vector<Sample>& contestants);

// Sample by sample, a over b.
Figure ratio_of(const std::vector<double>& a, const std::vector<double>& b);

inline Figure measure(int repeats, const Sample& sample) {
  return figure_of(take_turns(repeats, {sample})[0]);
}

}  // namespace sluice::perf
