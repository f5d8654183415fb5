#include "dataplane/flow/snat_ports.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint32_t sequential_probes_max = 16;

}  // namespace

PortSlice slice_of(const SnatPoolRow& pool, std::uint32_t lcore, std::uint32_t lcore_count) {
  const std::uint32_t ports = static_cast<std::uint32_t>(pool.port_last - pool.port_first) + 1;
  const std::uint32_t begin = ports * lcore / lcore_count;
  const std::uint32_t end = ports * (lcore + 1) / lcore_count;
  return {static_cast<std::uint16_t>(pool.port_first + begin), static_cast<std::uint16_t>(pool.port_first + end - 1)};
}

std::optional<std::uint32_t> owner_of_port(const SnatPoolRow& pool, std::uint16_t port, std::uint32_t lcore_count) {
  if (port < pool.port_first || port > pool.port_last) return std::nullopt;
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
    if (port <= slice_of(pool, lcore, lcore_count).last) return lcore;
  }
  return std::nullopt;
}

SnatPorts::SnatPorts(std::uint64_t seed) : cursors_(endpoints_max), random_state_(seed | 1) {}

std::uint64_t SnatPorts::random() {  // xorshift64* (Vigna)
  random_state_ ^= random_state_ >> 12;
  random_state_ ^= random_state_ << 25;
  random_state_ ^= random_state_ >> 27;
  return random_state_ * 0x2545f4914f6cdd1dull;
}

// Toward one endpoint: every address of its family with every port of the lcore's slice, ports
// last.
struct SnatPorts::Places {
  std::span<const IpAddress> addresses;
  PortSlice slice{};
  std::uint64_t count = 0;

  Places(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint, std::uint32_t lcore,
         std::uint32_t lcore_count) {
    const bool is_v4 = endpoint.address.is_v4();
    addresses = tables.snat_addresses().subspan(pool.first_address + (is_v4 ? 0 : pool.address_count_v4),
                                                is_v4 ? pool.address_count_v4 : pool.address_count_v6);
    slice = slice_of(pool, lcore, lcore_count);
    count = (std::uint64_t{slice.last} - slice.first + 1) * addresses.size();
  }

  void put(std::uint32_t place, SnatChoice& choice) const {
    const auto address_count = static_cast<std::uint32_t>(addresses.size());
    choice.address = addresses[place % address_count];
    choice.port = be16(static_cast<std::uint16_t>(slice.first + place / address_count));
    choice.outcome = SnatChoice::Outcome::found;
  }
};

std::uint32_t& SnatPorts::cursor_of(const EndpointRow& endpoint, const Places& places) {
  std::uint32_t& cursor = cursors_[endpoint.id];
  if (cursor == 0 || cursor > places.count) [[unlikely]] {
    cursor = static_cast<std::uint32_t>(1 + random() % places.count);
  }
  return cursor;
}

SnatChoice SnatPorts::next(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
                           std::uint64_t in_use, std::uint32_t lcore, std::uint32_t lcore_count) {
  SnatChoice choice;
  const Places places(tables, pool, endpoint, lcore, lcore_count);
  if (places.addresses.empty()) choice.outcome = SnatChoice::Outcome::no_address;
  if (in_use >= places.count) return choice;
  std::uint32_t& cursor = cursor_of(endpoint, places);
  const std::uint32_t place = cursor == places.count ? 0 : cursor;
  cursor = place + 1;
  choice.probes = 1;
  places.put(place, choice);
  return choice;
}

SnatChoice SnatPorts::choose(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
                             std::uint64_t in_use, const Conntrack& flows, std::uint32_t lcore,
                             std::uint32_t lcore_count) {
  SnatChoice choice;
  const Places places(tables, pool, endpoint, lcore, lcore_count);
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
    const auto place = static_cast<std::uint32_t>(is_stretch_dense ? random() % places.count : cursor % places.count);
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
