// What a packet costs on the packet path: of known flows, of new ones, and of those that are
// refused. clk per packet, verified; writing the frames and looking at the result are not counted.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "perf/bench/rig.h"

namespace sluice::perf {

// Packets of random established flows, every other one a reply.
double established(Rig& rig);

// The same with frames of this many bytes, FCS not included; IPv4, FULL_NAT. `batch` was made with room for them.
double established_of(Rig& rig, Batch& batch, std::size_t frame_bytes);

// The same, stage by stage, reading the TSC around each stage of each burst included.
struct StageCost {
  std::string_view stage;
  double clk;
};
std::vector<StageCost> stage_costs(Rig& rig, int batches);

// SYNs (or first UDP packets) of flows that are not there. Keeps what it opens until close_all().
class Opener {
 public:
  // `is_spread`: each from another address, all over 32 M of them; else 16,384 come from one.
  explicit Opener(Rig& rig, bool is_spread = false) : rig_(rig), is_spread_(is_spread) {}
  double opened();
  std::vector<StageCost> stage_costs(int batches);  // of opening them
  void close_all();

 private:
  FlowKey next_client();
  void write(Batch& batch);
  void note(Burst& burst);

  Rig& rig_;
  bool is_spread_;
  std::vector<FlowRecord*> opened_;
};

// SYNs, or first UDP packets, of the flows that `next` names; they must all end with `verdict`.
double decided(Rig& rig, Verdict verdict, const std::function<FlowKey()>& next);
// Flows that are not there, to a port of the VIP's address; of clients from a /24 of a list (Setup::prefix_count, blocked_count).
std::function<FlowKey()> strangers(Rig& rig, std::uint16_t port);
std::function<FlowKey()> strangers_from_denied(Rig& rig, std::uint32_t network_count);

}  // namespace sluice::perf
