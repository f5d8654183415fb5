// SnatPorts: finds a free (SNAT address, port) toward an endpoint, among those whose replies belong to this lcore
// (ReplyOwner): its slice of the pool's ports, or all ports that make the reply hash to one of its queues.
//
// What is in use is not
// kept here: it is derived from the flow index, by asking whether the reply's five-tuple is there. The
// same port may thus serve many endpoints at once. Per endpoint there is a cursor: ports are used in turn,
// so that the time until one is used again is as long as it can be, and filling a pool never misses a free
// port. Where the next places are taken, the search jumps, so that a dense stretch cannot hide free ones.
// Threads: one lcore. Memory: fixed, allocated at construction; by hash, four bytes more for each SNAT address.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/flow/conntrack.h"
#include "dataplane/flow/reply_owner.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

struct SnatChoice {
  enum class Outcome : std::uint8_t { found, exhausted, no_address } outcome = Outcome::exhausted;
  IpAddress address;
  Be16 port{};
  std::uint32_t probes = 0;
};

class SnatPorts {
 public:
  static constexpr std::uint32_t probes_max = 64;  // per new flow; the client's next SYN goes on from there

  // `seed` makes the first port of each endpoint hard to guess.
  explicit SnatPorts(std::uint64_t seed = 1);
  // The next place in turn. Whether a flow uses it already is for the caller to see, who can look at many at once.
  // `in_use`: flows that this lcore holds toward the endpoint; as many as the slice has ports means exhausted.
  SnatChoice next(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint, std::uint64_t in_use,
                  const ReplyOwner& replies, std::uint32_t lcore);
  // The next place that no flow uses, as far as `probes_max` tries lead.
  SnatChoice choose(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint, std::uint64_t in_use,
                    const Conntrack& flows, const ReplyOwner& replies, std::uint32_t lcore);

 private:
  struct Places;
  std::uint64_t random();
  std::uint32_t& cursor_of(const EndpointRow& endpoint, const Places& places);
  std::span<const std::uint32_t> hashes_of_addresses(const Snapshot& tables, const ReplyHash& hash);

  std::vector<std::uint32_t> cursors_;  // by endpoint id: the last place tried, plus one; 0: none yet
  std::uint64_t random_state_;
  std::vector<std::uint32_t> address_hashes_;    // what each of the snapshot's SNAT addresses adds to the hash of a reply
  const IpAddress* hashed_addresses_ = nullptr;  // of which snapshot
  std::uint64_t hashed_generation_ = 0;
};

}  // namespace sluice
