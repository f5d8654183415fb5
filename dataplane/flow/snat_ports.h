// SnatPorts: finds a free (SNAT address, port) toward an endpoint, from this lcore's slice of the pool.
//
// Each pool's port range is cut into one slice an lcore, so that no two lcores can give out the same
// port and the owner of a reply can be computed from its destination port alone. What is in use is not
// kept here: it is derived from the flow index, by asking whether the reply's five-tuple is there. The
// same port may thus serve many endpoints at once. Per endpoint there is a cursor: ports are used in turn,
// so that the time until one is used again is as long as it can be, and filling a pool never misses a free
// port. Where the next places are taken, the search jumps, so that a dense stretch cannot hide free ones.
// Threads: one lcore. Memory: fixed, allocated at construction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/flow/conntrack.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

struct PortSlice {
  std::uint16_t first, last;  // both included
};

// The part of `pool`'s ports that belongs to `lcore`.
PortSlice slice_of(const SnatPoolRow& pool, std::uint32_t lcore, std::uint32_t lcore_count);
// The lcore whose slice holds `port`; nothing when the pool does not have the port.
std::optional<std::uint32_t> owner_of_port(const SnatPoolRow& pool, std::uint16_t port, std::uint32_t lcore_count);

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
                  std::uint32_t lcore, std::uint32_t lcore_count);
  // The next place that no flow uses, as far as `probes_max` tries lead.
  SnatChoice choose(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint, std::uint64_t in_use,
                    const Conntrack& flows, std::uint32_t lcore, std::uint32_t lcore_count);

 private:
  struct Places;
  std::uint64_t random();
  std::uint32_t& cursor_of(const EndpointRow& endpoint, const Places& places);

  std::vector<std::uint32_t> cursors_;  // by endpoint id: the last place tried, plus one; 0: none yet
  std::uint64_t random_state_;
};

}  // namespace sluice
