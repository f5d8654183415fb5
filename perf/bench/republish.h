// Latency at half load, with and without snapshots being built and published meanwhile.
#pragma once

#include <cstdint>

#include "perf/bench/measure.h"

namespace sluice::perf {

struct Latency {  // microseconds, over the turns
  Figure p50, p99, p999, max;
};

// How often and for how long the CPU was taken away from the loop alone, which does nothing that takes as long.
struct Stalls {
  Figure us;
  double per_second = 0;
  double share = 0;  // of the time
};

struct LatencyFigures {
  Latency loop;       // the loop and the copies alone: what this machine does to anyone
  Latency additions;  // with as much work as the pipeline's, which touches nothing: what it does to anyone at this load
  Latency busy;       // likewise, while another CPU is busy with additions too: what that takes from this one
  Latency quiet;      // the pipeline
  Latency reload;     // the pipeline while snapshots come
  Latency quiet_added;   // beyond `additions`, turn by turn
  Latency reload_added;  // beyond `busy`
  Stalls stalls;
  std::uint64_t snapshots = 0;        // that were adopted
};

// Packets of established flows arrive at an even rate, half of what the pipeline manages, and each
// waits until the burst that carries it is done. Beside it, another thread builds, verifies and
// publishes snapshots of `vip_count` VIPs as fast as it can, all slot tables included.
//
// A CPU that is taken away for a while (by an interrupt, by the machine below a virtual one) delays all that arrives
// meanwhile, and at half load as much again until that is caught up with. `additions` has all of this and nothing of ours.
// Loop, additions and pipeline take turns of `seconds`, and then the two beside a busy CPU. All are judged by the core's
// throughput as those of other rows are: half load of a core whose other thread takes half of it is all that is left. The
// figures are medians over the turns, so that one in which the machine took the core away for milliseconds does not decide.
LatencyFigures measure_latency(std::uint32_t flows, std::uint32_t vip_count, int turns,
                               double seconds);

}  // namespace sluice::perf
