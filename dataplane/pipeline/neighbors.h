// NeighborTable: hardware addresses of next hops, and the packets that wait for them.
//
// One per lcore; every ARP and ND packet is shared with all lcores, so each learns by itself.
// Memory:   fixed: `neighbors_max` entries, `hold_max` waiting packets in all, `hold_per_neighbor_max` each.
// Errors:   full tables are verdicts of the caller (drop_neighbors_full, drop_hold_full).
// Cost:     a flow keeps the entry's index; touching it is one cache line.
// States follow RFC 4861 7.3.2 in short: incomplete -> reachable -> stale (used while asked again) -> gone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/net/address.h"
#include "dataplane/pipeline/packet.h"

namespace sluice {

inline constexpr std::uint32_t neighbors_max = 4'096;
inline constexpr std::uint32_t hold_max = 256;
inline constexpr std::uint32_t hold_per_neighbor_max = 16;
inline constexpr std::uint16_t no_neighbor = 0xffff;

enum class NeighborState : std::uint8_t { unused, incomplete, reachable, stale };
std::string_view name_of(NeighborState state);

struct Neighbor {
  IpAddress address;
  MacAddress mac{};
  std::uint16_t port = 0;
  NeighborState state = NeighborState::unused;
  std::uint8_t probes = 0;           // requests sent since the last answer
  std::uint16_t held_count = 0;
  std::uint32_t confirmed_stamp = 0; // when it last answered
  std::uint32_t probed_stamp = 0;
  std::uint32_t used_stamp = 0;
};

class NeighborTable {
 public:
  NeighborTable();

  // The entry for a next hop, made if need be; no_neighbor when the table is full.
  std::uint16_t find_or_add(IpAddress address, std::uint16_t port, Instant now);
  std::uint16_t find(IpAddress address, std::uint16_t port) const;  // no_neighbor when unknown
  Neighbor& operator[](std::uint16_t index) { return entries_[index]; }
  const Neighbor& operator[](std::uint16_t index) const { return entries_[index]; }

  // Takes a packet into the hold queue; false when full.
  bool hold(std::uint16_t index, const ReleasedPacket& packet, std::byte* data);
  // Learns an answer. Returns the entry's index, no_neighbor when nobody asked for it.
  std::uint16_t learn(IpAddress address, std::uint16_t port, MacAddress mac, Instant now);
  // Takes a waiting packet out; `data` is its frame. False when none waits for `index`.
  bool take_held(std::uint16_t index, ReleasedPacket& packet, std::byte*& data);
  void forget(std::uint16_t index);

  // Raised when an index may come to mean another next hop: flows then look theirs up again.
  std::uint16_t epoch() const { return epoch_; }
  void raise_epoch() { ++epoch_; }
  std::uint32_t held_count() const { return held_count_; }

 private:
  struct Held {
    ReleasedPacket packet;
    std::byte* data = nullptr;
    std::uint16_t neighbor = no_neighbor;
  };
  std::size_t bucket_of(IpAddress address, std::uint16_t port) const;

  std::vector<Neighbor> entries_;
  std::vector<std::uint16_t> index_;  // open addressing over entries_, twice as large
  std::vector<Held> held_;            // in order of arrival
  std::uint32_t held_count_ = 0;
  std::uint16_t epoch_ = 1;
};

}  // namespace sluice
