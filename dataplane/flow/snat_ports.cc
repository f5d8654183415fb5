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

SnatChoice SnatPorts::choose(const Snapshot& tables, const SnatPoolRow& pool, const EndpointRow& endpoint,
                             std::uint64_t in_use, const Conntrack& flows, std::uint32_t lcore,
                             std::uint32_t lcore_count) {
  SnatChoice choice;
  const bool is_v4 = endpoint.address.is_v4();
  const std::uint32_t address_count = is_v4 ? pool.address_count_v4 : pool.address_count_v6;
  if (address_count == 0) {
    choice.outcome = SnatChoice::Outcome::no_address;
    return choice;
  }
  const auto addresses = tables.snat_addresses().subspan(
      pool.first_address + (is_v4 ? 0 : pool.address_count_v4), address_count);
  const PortSlice slice = slice_of(pool, lcore, lcore_count);
  const std::uint32_t ports = static_cast<std::uint32_t>(slice.last - slice.first) + 1;
  const std::uint64_t places = std::uint64_t{ports} * address_count;
  if (in_use >= places) return choice;

  FlowKey reply;
  reply.source = endpoint.address;
  reply.source_port = endpoint.port;
  reply.protocol = endpoint.protocol;
  std::uint32_t& cursor = cursors_[endpoint.id];
  if (cursor == 0 || cursor > places) cursor = static_cast<std::uint32_t>(1 + random() % places);
  const std::uint64_t tries = std::min<std::uint64_t>(probes_max, places);
  while (choice.probes < tries) {
    const bool is_stretch_dense = ++choice.probes > sequential_probes_max && places > probes_max;
    const std::uint64_t place = is_stretch_dense ? random() % places : cursor % places;
    cursor = static_cast<std::uint32_t>(place + 1);
    reply.destination = addresses[place % address_count];
    reply.destination_port = be16(static_cast<std::uint16_t>(slice.first + place / address_count));
    if (flows.contains(reply)) continue;
    choice.outcome = SnatChoice::Outcome::found;
    choice.address = reply.destination;
    choice.port = reply.destination_port;
    return choice;
  }
  return choice;
}

}  // namespace sluice
