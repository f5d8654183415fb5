#include "dataplane/flow/reply_owner.h"

namespace sluice {

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

const ReplyHash* ReplyOwner::hash_for(const SnatPoolRow& pool, bool is_v4, std::uint8_t protocol_number) const {
  if (!hash_) [[likely]] return nullptr;
  const std::uint32_t ports = static_cast<std::uint32_t>(pool.port_last - pool.port_first) + 1;
  if (ports < ports_per_lcore_min * lcore_count_) return nullptr;
  return are_ports_hashed(is_v4, protocol_number) ? &*hash_ : nullptr;
}

bool ReplyOwner::are_ports_hashed(bool is_v4, std::uint8_t protocol_number) const {
  const bool is_tcp = protocol_number == protocol::tcp;
  return is_v4 ? (is_tcp ? hash_->has_tcp_v4 : hash_->has_udp_v4) : (is_tcp ? hash_->has_tcp_v6 : hash_->has_udp_v6);
}

std::optional<std::uint32_t> ReplyOwner::arrival_of(const FlowKey& key) const {
  if (!hash_ || !are_ports_hashed(key.source.is_v4(), key.protocol)) return std::nullopt;
  return lcore_of(*hash_, hash_->toeplitz.hash(key));
}

std::optional<std::uint32_t> ReplyOwner::of(const SnatPoolRow& pool, const FlowKey& reply) const {
  const std::uint16_t port = reply.destination_port.host();
  const ReplyHash* hash = hash_for(pool, reply.destination.is_v4(), reply.protocol);
  if (hash == nullptr) return owner_of_port(pool, port, lcore_count_);
  if (port < pool.port_first || port > pool.port_last) return std::nullopt;
  return lcore_of(*hash, hash->toeplitz.hash(reply));
}

}  // namespace sluice
