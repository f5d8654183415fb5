// NamedClient: the client that a PROXY header names, of a spliced flow whose other client is the proxy.
//
// No packet needs it: it is for operators, who look for the client and not for the proxy. It lies beside the SpliceRecord, under
// the same number, so that it is found and outlives the process like it. A flow without one has there whatever was before: only
// the seal says that it is the flow's own.
// Any change raises flow_layout.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/splice_record.h"

namespace sluice {

struct NamedClient {
  IpAddress address{};
  Be16 port{};
  std::uint16_t zero = 0;
  std::uint32_t check = 0;  // CRC-32C, of the flow (FlowRecord::check) and of this connection (SpliceRecord::client_isn) too
};
static_assert(sizeof(NamedClient) == 24);

// Its connection, as it would be without the proxy.
inline FlowKey key_of(const NamedClient& client, const FlowRecord& flow) {
  FlowKey key = arriving_key(flow, Direction::to_endpoint);
  key.source = client.address;
  key.source_port = client.port;
  return key;
}

// Written once the flow and its SpliceRecord are.
void name_client(NamedClient& client, const FlowRecord& flow, const SpliceRecord& splice, IpAddress address, Be16 port);

// Of this flow; nothing when it has none, or a damaged one. By slot: what belongs to the lcore of the flow. Other threads than
// the owner may ask with a copy of the record (copy_of()): what changes meanwhile does not pass the seal.
std::optional<NamedClient> find_named_client(const FlowRecord& flow, std::span<const SpliceRecord> splices,
                                             std::span<const NamedClient> clients);

}  // namespace sluice
