// FlowLimits: one lcore's part in the counts of flows that have a limit (shared_limits.h).
//
// Each lcore knows for each VIP and endpoint whether its flows are in the shared count: they are as long as the snapshot that
// it has sets a limit for it. Then the shared count is the sum of what these lcores count as `flows_active`, at any moment
// between two bursts. follow() keeps it so: where a limit has come it adds the flows that are there, where one has gone it
// takes them out; so no flow needs to remember whether it was counted, and none can leak. A limit that only changes needs nothing:
// when it is lower than what is there, flows stay, and none opens before there is room.
// A limit that comes where there was none holds when all lcores have taken its snapshot (Engine::publish waits for that): until
// then those that have it do not know of the flows of those that do not.
//
// Threads: one lcore; follow() also the control thread, before the lcores run.
// Memory:  0.6 MB of address space for two arrays by id, and as much for the ids that are counted; never grows.
// Errors:  none.
// Cost:    without limits one branch at the end of a flow, and nothing else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dataplane/base/zeroed_rows.h"
#include "dataplane/pipeline/counters.h"
#include "dataplane/pipeline/shared_limits.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

class FlowLimits {
 public:
  explicit FlowLimits(SharedLimits& shared) : shared_(shared), vips_(vips_max), endpoints_(endpoints_max) {}

  // A new snapshot, before any packet sees it. `counters`: of this lcore; flows that are taken over are in them.
  void follow(const Snapshot& tables, const Counters& counters);

  // One flow more of a VIP or an endpoint whose limit, in the snapshot, is `max`; false when the box has so many.
  bool take_vip(std::uint32_t id, std::uint32_t max) { return !vips_.has(id) || shared_.vips[id].flows.take(max); }
  bool take_endpoint(std::uint32_t id, std::uint32_t max) { return !endpoints_.has(id) || shared_.endpoints[id].take(max); }
  // One less.
  void leave_vip(std::uint32_t id) {
    if (vips_.has(id)) [[unlikely]] shared_.vips[id].flows.subtract(1);
  }
  void leave_endpoint(std::uint32_t id) {
    if (endpoints_.has(id)) [[unlikely]] shared_.endpoints[id].subtract(1);
  }
  // Of a VIP with a limit: how many the box has.
  std::uint32_t flows_of_vip(std::uint32_t id) const { return shared_.vips[id].flows.read(); }

 private:
  // The ids whose flows this lcore has in the shared count.
  class Counted {
   public:
    explicit Counted(std::size_t id_count) : rounds_(id_count) { ids_.reserve(id_count); }
    bool has(std::uint32_t id) const { return !ids_.empty() && rounds_[id] != 0; }
    void begin_round() { ++round_; }
    // Belongs to them in this round; `enter` is told when it did not before.
    template <class Enter>
    void keep(std::uint32_t id, Enter enter) {
      if (rounds_[id] == 0) {
        ids_.push_back(id);
        enter(id);
      }
      rounds_[id] = round_;
    }
    // `leave` is told of those that were not kept.
    template <class Leave>
    void end_round(Leave leave) {
      std::erase_if(ids_, [&](std::uint32_t id) {
        if (rounds_[id] == round_) return false;
        rounds_[id] = 0;
        leave(id);
        return true;
      });
    }

   private:
    ZeroedRows<std::uint32_t> rounds_;  // by id: the last in which it was kept; 0: it is none of them
    std::vector<std::uint32_t> ids_;
    std::uint32_t round_ = 0;
  };

  SharedLimits& shared_;
  Counted vips_, endpoints_;
};

}  // namespace sluice
