#include "dataplane/flow/snat_ports.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint32_t sequential_probes_max = 16;
// One place among as many as there are lcores hashes to us, on average. Among this many there is one, unless the key is
// one that no hash should have.
constexpr std::uint32_t hashed_places_max = 4'096;

}  // namespace

SnatPorts::SnatPorts(std::uint64_t seed) : cursors_(endpoints_max), random_state_(seed | 1) {}

std::uint64_t SnatPorts::random() {  // xorshift64* (Vigna)
  random_state_ ^= random_state_ >> 12;
  random_state_ ^= random_state_ << 25;
  random_state_ ^= random_state_ >> 27;
  return random_state_ * 0x2545f4914f6cdd1dull;
}

// Toward one endpoint: every address of its family with every port that the lcore may give out, ports last.
struct SnatPorts::Places {
  std::span<const IpAddress> addresses;
  PortSlice slice{};
  std::uint64_t count = 0;
  const ReplyHash* hash = nullptr;  // not all places are the lcore's: those whose replies hash to it
  std::span<const std::uint32_t> address_hashes;
  std::uint32_t source_hash = 0;
  std::uint32_t lcore = 0;

  Places(SnatPorts& owner, const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
         const ReplyOwner& replies, std::uint32_t lcore_index)
      : lcore(lcore_index) {
    const bool is_v4 = endpoint.address.is_v4();
    const std::size_t first = pool.first_address + (is_v4 ? 0 : pool.address_count_v4);
    const std::size_t address_count = is_v4 ? pool.address_count_v4 : pool.address_count_v6;
    addresses = tables.snat_addresses().subspan(first, address_count);
    hash = replies.hash_for(pool, is_v4, endpoint.protocol);
    slice = hash != nullptr ? PortSlice{pool.port_first, pool.port_last} : slice_of(pool, lcore, replies.lcore_count());
    count = (std::uint64_t{slice.last} - slice.first + 1) * addresses.size();
    if (hash == nullptr || addresses.empty()) return;
    address_hashes = owner.hashes_of_addresses(tables, *hash).subspan(first, address_count);
    source_hash = hash->toeplitz.of_source(endpoint.address, endpoint.port);
  }

  // `place`, or the first in turn that is the lcore's; `count`: none is found.
  std::uint32_t own_from(std::uint32_t place) const {
    if (hash == nullptr) return place;
    const auto address_count = static_cast<std::uint32_t>(addresses.size());
    const bool is_v4 = addresses[0].is_v4();
    std::uint32_t address = place % address_count;
    auto port = static_cast<std::uint16_t>(slice.first + place / address_count);
    for (std::uint32_t tries = 0; tries < hashed_places_max; ++tries) {
      const std::uint32_t reply = source_hash ^ address_hashes[address] ^ hash->toeplitz.of_destination_port(be16(port), is_v4);
      if (lcore_of(*hash, reply) == lcore) return static_cast<std::uint32_t>(port - slice.first) * address_count + address;
      if (++address < address_count) continue;
      address = 0;
      port = port == slice.last ? slice.first : static_cast<std::uint16_t>(port + 1);
    }
    return static_cast<std::uint32_t>(count);
  }

  void put(std::uint32_t place, SnatChoice& choice) const {
    const auto address_count = static_cast<std::uint32_t>(addresses.size());
    choice.address = addresses[place % address_count];
    choice.port = be16(static_cast<std::uint16_t>(slice.first + place / address_count));
    choice.outcome = SnatChoice::Outcome::found;
  }
};

std::span<const std::uint32_t> SnatPorts::hashes_of_addresses(const Snapshot& tables, const ReplyHash& hash) {
  const auto addresses = tables.snat_addresses();
  if (addresses.data() != hashed_addresses_ || tables.generation() != hashed_generation_) [[unlikely]] {
    hashed_addresses_ = addresses.data();
    hashed_generation_ = tables.generation();
    address_hashes_.clear();
    for (const IpAddress& address : addresses) address_hashes_.push_back(hash.toeplitz.of_destination(address));
  }
  return address_hashes_;
}

std::uint32_t& SnatPorts::cursor_of(const EndpointRow& endpoint, const Places& places) {
  std::uint32_t& cursor = cursors_[endpoint.id];
  if (cursor == 0 || cursor > places.count) [[unlikely]] {
    cursor = static_cast<std::uint32_t>(1 + random() % places.count);
  }
  return cursor;
}

SnatChoice SnatPorts::next(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
                           std::uint64_t in_use, const ReplyOwner& replies, std::uint32_t lcore) {
  SnatChoice choice;
  const Places places(*this, tables, pool, endpoint, replies, lcore);
  if (places.addresses.empty()) choice.outcome = SnatChoice::Outcome::no_address;
  if (in_use >= places.count) return choice;
  std::uint32_t& cursor = cursor_of(endpoint, places);
  const std::uint32_t place = places.own_from(cursor == places.count ? 0 : cursor);
  if (place == places.count) return choice;
  cursor = place + 1;
  choice.probes = 1;
  places.put(place, choice);
  return choice;
}

SnatChoice SnatPorts::choose(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
                             std::uint64_t in_use, const Conntrack& flows, const ReplyOwner& replies,
                             std::uint32_t lcore) {
  SnatChoice choice;
  const Places places(*this, tables, pool, endpoint, replies, lcore);
  if (places.addresses.empty()) choice.outcome = SnatChoice::Outcome::no_address;
  if (in_use >= places.count) return choice;
  FlowKey reply;
  reply.source = endpoint.address;
  reply.source_port = endpoint.port;
  reply.protocol = endpoint.protocol;
  std::uint32_t& cursor = cursor_of(endpoint, places);
  const std::uint64_t tries = std::min<std::uint64_t>(probes_max, places.count);
  while (choice.probes < tries) {
    const bool is_stretch_dense = ++choice.probes > sequential_probes_max && places.count > probes_max;
    const auto place = places.own_from(
        static_cast<std::uint32_t>(is_stretch_dense ? random() % places.count : cursor % places.count));
    if (place == places.count) break;
    cursor = place + 1;
    places.put(place, choice);
    reply.destination = choice.address;
    reply.destination_port = choice.port;
    if (!flows.contains(reply)) return choice;
  }
  choice.outcome = SnatChoice::Outcome::exhausted;
  return choice;
}

}  // namespace sluice
