// What a packet costs on the packet path: of known flows, of new ones, and of those that are
// refused. clk per packet, verified; writing the frames and looking at the result are not counted.
#pragma once

#include <string_view>
#include <vector>

#include "perf/bench/rig.h"

namespace sluice::perf {

// Packets of random established flows, every other one a reply.
double established(Rig& rig);

// The same, stage by stage, reading the TSC around each stage of each burst included.
struct StageCost {
  std::string_view stage;
  double clk;
};
std::vector<StageCost> stage_costs(Rig& rig, int batches);

// SYNs (or first UDP packets) of flows that are not there. Keeps what it opens until close_all().
class Opener {
 public:
  explicit Opener(Rig& rig) : rig_(rig) {}
  double opened();
  void close_all();

 private:
  Rig& rig_;
  std::vector<FlowRecord*> opened_;
};

// Packets of new flows that must all end with `verdict`.
double refused(Rig& rig, std::uint16_t port, Verdict verdict);

}  // namespace sluice::perf
