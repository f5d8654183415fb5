// How a TCP or UDP packet moves its flow from state to state, and how long each state lasts. Pure.
//
// We see both directions but take no part: states follow RFC 9293 loosely, as in nf_conntrack. A RST does
// not end a flow at once, because anyone may forge one: it shortens the timeout, and a flow on which both
// sides go on talking afterwards is alive again.
//
// Of a one-sided flow (direct server return) only the client is heard, so what the endpoint says must be concluded:
//   opening      ends with the client's first segment after the SYN, which acknowledges a SYN-ACK that we did not see.
//   closing      begins with the client's FIN and lasts until the client has been silent for that timeout, for neither the
//                endpoint's FIN nor its last acknowledgment is seen. A new SYN, with another sequence number, ends it.
//   established  an endpoint that resets leaves the flow to its idle timeout. A SYN that comes meanwhile goes to the
//                same endpoint, which knows whether it has that connection.
//   reset        is alive again when the client goes on.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/net/headers.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

// Updates state and flags for a segment that goes in `direction`.
void change_tcp_state(FlowRecord& record, std::uint8_t tcp_flags, Direction direction);
inline void track_tcp(FlowRecord& record, std::uint8_t tcp_flags, Direction direction) {
  const bool is_plain = (tcp_flags & (tcp_flag::syn | tcp_flag::fin | tcp_flag::rst)) == 0;
  if (record.state == FlowState::established && is_plain) [[likely]] return;
  change_tcp_state(record, tcp_flags, direction);
}
inline void track_udp(FlowRecord& record, Direction direction) {
  if (direction == Direction::to_client) record.state = FlowState::established;
}

// Whether a segment from the client can belong to this connection, as far as the handshake tells: nothing but a
// SYN before the endpoint has answered, and nothing far from the initial sequence number before the handshake is
// complete. Keeps strays of an earlier connection with the same five-tuple away from the endpoint.
bool is_plausible_from_client(const FlowRecord& record, std::uint8_t tcp_flags, std::uint32_t sequence);

// Whether a SYN of the same five-tuple with this sequence number starts a new connection (RFC 9293 3.10.7.4, RFC 6191).
bool may_reopen(const FlowRecord& record, std::uint32_t sequence);

std::uint32_t timeout_ms_of(const FlowRecord& record, const NodeRow& node);
inline bool is_expired(const FlowRecord& record, const NodeRow& node, Instant now) {
  return ms_since(record.last_seen, now) >= timeout_ms_of(record, node);
}

}  // namespace sluice
