// NeighborTable: hardware addresses of next hops, and the packets that wait for them.
//
// One per lcore; every ARP and ND packet is shared with all lcores, so each learns by itself.
// Memory:   fixed: `neighbors_max` entries, `hold_max` waiting packets in all, `hold_per_neighbor_max` each.
// Errors:   full tables are verdicts of the caller (drop_neighbors_full, drop_hold_full).
// Cost:     a flow keeps the entry's index; touching it is one cache line.
// States follow RFC 4861 7.3.2 in short: incomplete -> reachable -> stale (used while asked again) -> gone.
#pragma once

#include <cstdint>
#include <string_view>
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
  std::uint32_t confirmed_stamp = 0; // when it last answered; incomplete: when it was first wanted
  std::uint32_t probed_stamp = 0;
  std::uint32_t used_stamp = 0;
};

struct HeldPacket {
  void* handle = nullptr;
  std::byte* data = nullptr;
  std::uint16_t bytes = 0;
  std::uint16_t neighbor = no_neighbor;
};

class NeighborTable {
 public:
  NeighborTable();

  // The entry for a next hop, made if need be; no_neighbor when the table is full.
  std::uint16_t find_or_add(IpAddress address, std::uint16_t port, Instant now);
  std::uint16_t find(IpAddress address, std::uint16_t port) const;  // no_neighbor when unknown
  Neighbor& operator[](std::uint16_t index) { return entries_[index]; }
  const Neighbor& operator[](std::uint16_t index) const { return entries_[index]; }

  // Entries are numbered from 0; those at and above this were never used.
  std::uint16_t count_used() const { return static_cast<std::uint16_t>(entries_.size()); }

  // Takes a packet into the hold queue; false when full.
  bool hold(std::uint16_t index, const HeldPacket& packet);
  // Learns an answer. Returns the entry's index, no_neighbor when nobody asked for it.
  std::uint16_t learn(IpAddress address, std::uint16_t port, MacAddress mac, Instant now);
  // Takes the packet out that has waited longest for `index`; false when none does.
  bool take_held(std::uint16_t index, HeldPacket& packet);
  // Frees an entry for which no packet waits.
  void forget(std::uint16_t index);

  // Raised when an index may come to mean another next hop: flows then look theirs up again.
  // Never 0, which flows begin with.
  std::uint32_t epoch() const { return epoch_; }
  void raise_epoch() { epoch_ = epoch_ == UINT32_MAX ? 1 : epoch_ + 1; }
  std::size_t held_count() const { return held_.size(); }

 private:
  std::size_t place_of(IpAddress address, std::uint16_t port) const;  // in index_: where it is, or would go

  std::vector<Neighbor> entries_;      // never moves: reserved at construction
  std::vector<std::uint16_t> unused_;  // entries that were forgotten
  std::vector<std::uint16_t> index_;   // open addressing over entries_, twice as large
  std::vector<HeldPacket> held_;       // in order of arrival
  std::uint32_t epoch_ = 1;
};

}  // namespace sluice
