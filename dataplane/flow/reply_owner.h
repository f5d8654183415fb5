// ReplyOwner: which lcore a reply of a FULL_NAT flow belongs to. Any lcore can compute it from the reply alone, so a
// reply that arrives elsewhere is handed to where its flow is; and no two lcores can give out the same SNAT port toward
// the same endpoint, because the lcore to which a reply belongs is the only one that may.
//
// By slices: the ports of each pool are cut into one slice an lcore. That says nothing of where replies arrive; flow
//            rules in the NIC may bring each slice to its lcore.
// By hash:   a reply belongs to the lcore that serves the queue to which RSS brings it, if the NIC hashes with the key
//            and the table given here. Whoever opens a flow chooses a port that makes it his own (SnatPorts).
// One of both is chosen at start and stays for the life of the process. By hash, pools of few ports and protocols whose
// ports the NIC does not hash are cut into slices all the same: a hash may leave an lcore without any of few ports.
// Threads: immutable.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/flow/toeplitz.h"
#include "dataplane/net/headers.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

struct PortSlice {
  std::uint16_t first, last;  // both included
};

// The part of `pool`'s ports that belongs to `lcore`.
PortSlice slice_of(const SnatPoolRow& pool, std::uint32_t lcore, std::uint32_t lcore_count);
// The lcore whose slice holds `port`; nothing when the pool does not have the port.
std::optional<std::uint32_t> owner_of_port(const SnatPoolRow& pool, std::uint16_t port, std::uint32_t lcore_count);

// What RSS of the NICs does with replies.
struct ReplyHash {
  Toeplitz toeplitz;
  std::vector<std::uint8_t> lcore_of_bucket;  // a power of two; by the lower bits of the hash
  bool has_tcp_v4 = false, has_udp_v4 = false, has_tcp_v6 = false, has_udp_v6 = false;  // whose ports are hashed
};

class ReplyOwner {
 public:
  static constexpr std::uint32_t ports_per_lcore_min = 256;  // of a pool, to be given out by hash

  explicit ReplyOwner(std::uint32_t lcore_count) : lcore_count_(lcore_count) {}
  ReplyOwner(std::uint32_t lcore_count, ReplyHash hash) : lcore_count_(lcore_count), hash_(std::move(hash)) {}

  std::uint32_t lcore_count() const { return lcore_count_; }
  bool is_by_hash() const { return hash_.has_value(); }
  // Nothing when the pool does not have the port.
  std::optional<std::uint32_t> of(const SnatPoolRow& pool, const FlowKey& reply) const;
  // The lcore to which RSS brings packets of the five-tuple; nothing when that is not known.
  std::optional<std::uint32_t> arrival_of(const FlowKey& key) const;
  // The hash by which ports of `pool` are given out toward endpoints of this family and protocol; nullptr: by slices.
  const ReplyHash* hash_for(const SnatPoolRow& pool, bool is_v4, std::uint8_t protocol_number) const;

 private:
  bool are_ports_hashed(bool is_v4, std::uint8_t protocol_number) const;

  std::uint32_t lcore_count_;
  std::optional<ReplyHash> hash_;
};

inline std::uint32_t lcore_of(const ReplyHash& rule, std::uint32_t hash) {
  return rule.lcore_of_bucket[hash & (rule.lcore_of_bucket.size() - 1)];
}

}  // namespace sluice
