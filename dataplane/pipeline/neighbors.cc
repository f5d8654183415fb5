#include "dataplane/pipeline/neighbors.h"

#include <algorithm>

#include "dataplane/tables/snapshot.h"

namespace sluice {

std::string_view name_of(NeighborState state) {
  switch (state) {
    case NeighborState::unused: return "unused";
    case NeighborState::incomplete: return "incomplete";
    case NeighborState::reachable: return "reachable";
    case NeighborState::stale: return "stale";
  }
  return "damaged";
}

NeighborTable::NeighborTable() : index_(neighbors_max * 2, no_neighbor) {
  entries_.reserve(neighbors_max);
  held_.reserve(hold_max);
}

std::size_t NeighborTable::place_of(IpAddress address, std::uint16_t port) const {
  for (std::uint64_t place = index_hash(address, Be16{port});; ++place) {
    const std::size_t at = place % index_.size();
    const std::uint16_t entry = index_[at];
    if (entry == no_neighbor || (entries_[entry].address == address && entries_[entry].port == port)) return at;
  }
}

std::uint16_t NeighborTable::find(IpAddress address, std::uint16_t port) const {
  return index_[place_of(address, port)];
}

std::uint16_t NeighborTable::find_or_add(IpAddress address, std::uint16_t port, Instant now) {
  const std::size_t place = place_of(address, port);
  if (index_[place] != no_neighbor) return index_[place];
  std::uint16_t entry;
  if (!unused_.empty()) {
    entry = unused_.back();
    unused_.pop_back();
  } else if (entries_.size() < neighbors_max) {
    entry = static_cast<std::uint16_t>(entries_.size());
    entries_.emplace_back();
  } else {
    return no_neighbor;
  }
  Neighbor& neighbor = entries_[entry];
  neighbor = Neighbor{};
  neighbor.address = address;
  neighbor.port = port;
  neighbor.state = NeighborState::incomplete;
  neighbor.probed_stamp = neighbor.used_stamp = neighbor.confirmed_stamp = now.stamp();
  index_[place] = entry;
  return entry;
}

bool NeighborTable::hold(std::uint16_t index, const HeldPacket& packet) {
  Neighbor& neighbor = entries_[index];
  if (held_.size() == hold_max || neighbor.held_count == hold_per_neighbor_max) return false;
  held_.push_back(packet);
  held_.back().neighbor = index;
  ++neighbor.held_count;
  return true;
}

std::uint16_t NeighborTable::learn(IpAddress address, std::uint16_t port, MacAddress mac, Instant now) {
  const std::uint16_t index = find(address, port);
  if (index == no_neighbor) return no_neighbor;
  Neighbor& neighbor = entries_[index];
  neighbor.mac = mac;
  neighbor.state = NeighborState::reachable;
  neighbor.probes = 0;
  neighbor.confirmed_stamp = now.stamp();
  return index;
}

bool NeighborTable::take_held(std::uint16_t index, HeldPacket& packet) {
  Neighbor& neighbor = entries_[index];
  if (neighbor.held_count == 0) return false;
  const auto first =
      std::find_if(held_.begin(), held_.end(), [&](const HeldPacket& held) { return held.neighbor == index; });
  packet = *first;
  held_.erase(first);
  --neighbor.held_count;
  return true;
}

void NeighborTable::forget(std::uint16_t index) {
  // Deletion from an open-addressed table by moving up what follows (Knuth 6.4, algorithm R).
  std::size_t hole = place_of(entries_[index].address, entries_[index].port);
  for (std::size_t at = (hole + 1) % index_.size(); index_[at] != no_neighbor; at = (at + 1) % index_.size()) {
    const Neighbor& other = entries_[index_[at]];
    const std::size_t home = index_hash(other.address, Be16{other.port}) % index_.size();
    const bool may_move = hole <= at ? (home <= hole || home > at) : (home <= hole && home > at);
    if (!may_move) continue;
    index_[hole] = index_[at];
    hole = at;
  }
  index_[hole] = no_neighbor;
  entries_[index].state = NeighborState::unused;
  unused_.push_back(index);
  raise_epoch();
}

}  // namespace sluice
