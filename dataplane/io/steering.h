// Steering: how the replies of endpoints come to the lcore of their flow, decided once when the ports are open.
//
// In order of the profile's preference: the SNAT port is chosen so that RSS brings the reply to a queue of the flow's
// lcore; each lcore's slice of SNAT ports is brought to its queue by flow rules; a ring hands replies on. Where flows
// belong is one rule for the box (ReplyOwner), so all ports that hash must hash alike, and with a port that hashes no
// other can use rules. The hand-over by ring is always there and always right: a way that does not do what it promises
// costs time and no packet.
// What can be seen at start is: key and table are read back from the device, rules are created. Whether the device does
// as it says, the first replies show (SteeringProof).
// Pure: nothing here calls a driver.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/flow/reply_owner.h"

namespace sluice {

std::string_view name_of(Steering way);  // "SNAT_PORT_HASH", as profiles say it; "NONE": one worker needs none

// What RSS of a port does, as its driver tells or its profile declares.
struct RssFacts {
  std::vector<std::uint8_t> key;
  std::vector<std::uint16_t> queue_of_bucket;  // a power of two
  std::uint64_t hash_fields = 0;               // RTE_ETH_RSS_*
  bool is_declared = false;                    // nobody could ask the device
};

struct SteeringCandidate {
  std::string name, profile, driver;
  std::span<const Steering> ways;  // in order of preference
  std::uint16_t queue_count = 1;
  Result<RssFacts> rss;
};

struct SteeringChoice {
  Steering way = Steering::handoff;
  std::string reason;  // for the operator: what it rests on, or why no better way
};

struct SteeringPlan {
  std::vector<SteeringChoice> choices;  // by candidate
  std::optional<ReplyHash> hash;        // set when at least one of them hashes
};

SteeringPlan plan_steering(std::span<const SteeringCandidate> candidates, std::uint32_t worker_count);

// The RSS key of ports that take one: the same for each process that has the same configuration, so that a restart
// leaves clients on the lcores of their flows; unknown outside where node.choice_seed is.
std::vector<std::uint8_t> own_rss_key(HashSecret seed, std::size_t bytes);

// Looks at where first replies arrive, until it is clear whether the device keeps what steering rests on.
class SteeringProof {
 public:
  enum class State : std::uint8_t { open, kept, broken };
  static constexpr std::uint64_t replies_min = 64;

  // Totals since start: replies that came to the lcore of their flow, and those that had to be handed to it. True: the
  // state is another one since.
  bool observe(std::uint64_t arrived, std::uint64_t handed);
  State state() const { return state_; }

 private:
  State state_ = State::open;
  std::uint64_t arrived_ = 0, handed_ = 0;  // at the last verdict
};

std::string_view name_of(SteeringProof::State state);

}  // namespace sluice
