// Two workers at once: each with a world of its own, on a CPU of its own, nothing shared. What each
// packet costs then, over what it costs when the other CPU rests.
#pragma once

#include <cstdint>

#include "perf/bench/measure.h"

namespace sluice::perf {

struct WorkersFigures {
  bool is_measured = false;  // false: this process may use one CPU only
  Figure first, second;      // clk together over clk alone, of either worker
  Figure bare;  // bare additions, clk together over clk alone: what the CPUs take from each other
};

WorkersFigures measure_two_workers(std::uint32_t flows, int repeats, int batches);

}  // namespace sluice::perf
