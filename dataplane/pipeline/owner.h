// Which lcore owns a flow. The rules are told in classify.cc; these functions also place the records that an
// earlier process left (../lcore).
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/snat_ports.h"
#include "dataplane/pipeline/packet.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

inline std::uint32_t owner_by_client(const Snapshot& tables, IpAddress client, Be16 port, std::uint32_t lcore_count) {
  const std::uint64_t hash = keyed_hash(tables.node().choice_secret, client.high ^ port.raw, client.low);
  return static_cast<std::uint32_t>((hash >> 32) * lcore_count >> 32);
}

// Nothing when the SNAT address or port is no longer in a pool: its replies would find no owner.
inline std::optional<std::uint32_t> owner_of_record(const Snapshot& tables, const FlowRecord& record,
                                                    const ReplyOwner& replies) {
  if ((record.flags & flow_flag::is_snat) == 0) {
    const FlowKey key = arriving_key(record, Direction::to_endpoint);
    return owner_by_client(tables, key.source, key.source_port, replies.lcore_count());
  }
  const FlowKey reply = arriving_key(record, Direction::to_client);
  const OwnAddress local = tables.find_address(reply.destination);
  if (local.kind != AddressKind::snat) return std::nullopt;
  return replies.of(tables.snat_pools()[local.index], reply);
}

inline void hand_to(Packet& packet, std::uint32_t lcore) {
  packet.target_lcore = static_cast<std::uint8_t>(lcore);
  packet.verdict = Verdict::handoff;
}

}  // namespace sluice
