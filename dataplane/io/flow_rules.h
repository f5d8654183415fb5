// FlowRules: rules in a network card that bring the replies of endpoints to the queue of the lcore that opened their flow:
// to one of our SNAT addresses, in the slice of ports of an lcore (ReplyOwner).
//
// Few cards match a range of ports; all that match a port match it under a mask. So a slice is cut into blocks whose
// size is a power of two and which begin at a multiple of it: at most thirty.
// Threads: the control thread. Errors: what the driver says of the first rule that it refuses; then none is in force.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/address.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

inline constexpr std::size_t flow_rules_max = 4'096;  // of a port

struct FlowRule {
  IpAddress destination;
  std::uint16_t port = 0, port_mask = 0;  // host order: the destination port under the mask
  std::uint8_t protocol = 0;
  std::uint16_t queue = 0;
  friend auto operator<=>(const FlowRule&, const FlowRule&) = default;
};

struct PortBlock {
  std::uint16_t port, mask;
};
std::vector<PortBlock> blocks_of(std::uint16_t first, std::uint16_t last);  // both included

// Sorted. The worker with index i is served by queue i.
std::vector<FlowRule> flow_rules_for(const Snapshot& tables, std::uint32_t worker_count);

// A card's side, as rte_flow; tests have another.
class RuleTaker {
 public:
  virtual ~RuleTaker() = default;
  virtual Result<void*> create(const FlowRule& rule) = 0;
  virtual void destroy(void* handle) = 0;
};
std::unique_ptr<RuleTaker> rte_flow_taker(std::uint16_t ethdev);

class FlowRules {
 public:
  explicit FlowRules(std::unique_ptr<RuleTaker> taker) : taker_(std::move(taker)) {}
  FlowRules(FlowRules&&) = default;
  FlowRules& operator=(FlowRules&&) = default;
  ~FlowRules() { clear(); }

  // Takes away those that are no longer wanted, then adds the new ones.
  Result<void> update(const std::vector<FlowRule>& wanted);
  std::size_t count() const { return rules_.size(); }

 private:
  struct Installed {
    FlowRule rule;
    void* handle = nullptr;
  };
  static bool is_before(const Installed& a, const Installed& b) { return a.rule < b.rule; }
  void clear();

  std::unique_ptr<RuleTaker> taker_;  // moved away: there is nothing to clear
  std::vector<Installed> rules_;      // sorted
};

}  // namespace sluice
