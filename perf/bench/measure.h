// Measuring on a shared machine: the TSC, a calibration of the core around every repeat, and
// contestants that take turns, so that a ratio compares the same moments.
//
// clk is a TSC cycle. The core may run slower or faster than the TSC, another guest may take it
// away for a while, and the other thread of the core may take half of its execution units. A chain
// of dependent additions sees the first two, independent additions see all three; a round in which
// they ran below the limit, nine tenths of the best that this process has seen, is thrown away and taken again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "perf/common/clock.h"

namespace sluice::perf {

// Dependent additions per TSC cycle over a millisecond: the core clock as a multiple of the TSC's.
double adds_per_clk();

// Independent additions per TSC cycle: what the core gives to us.
double parallel_adds_per_clk();

struct Figure {
  double median = 0, min = 0, max = 0;
};

double median_of(std::vector<double> samples);
Figure figure_of(std::vector<double> samples);

// What became of the repeats of this process.
struct Calibration {
  double usual_ghz = 0;     // the core clock when it is left alone
  double lowest_share = 1;  // of its usual throughput that the core gave in a round that was kept
  int kept = 0;             // rounds
  int rejected = 0;         // because the core gave less than 0.9 of its usual throughput, the best seen so far
};
const Calibration& calibration();

// How long a row may wait for the core to be left alone, beyond the time that three times its rounds take. Before the first row.
void be_patient(double seconds);

// Has each contestant take its turn: A B C, A B C, ... until `wanted` rounds are good, or the time for it is over. Then it makes
// do with the best of them, at least three. Which rounds count, the best first; the first round of all is 0.
std::vector<std::size_t> play_rounds(int wanted, const std::vector<std::function<void()>>& contestants);

using Sample = std::function<double()>;

// The samples that each contestant took in the rounds that count.
std::vector<std::vector<double>> take_turns(int repeats, const std::vector<Sample>& contestants);

// Sample by sample, a over b.
Figure ratio_of(const std::vector<double>& a, const std::vector<double>& b);
// Sample by sample, a less b.
Figure difference_of(const std::vector<double>& a, const std::vector<double>& b);

inline Figure measure(int repeats, const Sample& sample) {
  return figure_of(take_turns(repeats, {sample})[0]);
}

}  // namespace sluice::perf
