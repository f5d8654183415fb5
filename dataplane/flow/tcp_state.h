// How a TCP or UDP packet moves its flow from state to state, and how long each state lasts. Pure.
//
// We see both directions but take no part: states follow RFC 9293 loosely, as in nf_conntrack. Anyone may forge a segment,
// so that no RST and no FIN shortens the life of an established flow before one of its ends has confirmed it:
//   FIN  counts when the other end acknowledges exactly what comes after it. Until then the flow is `closing` with the
//        timeout of an established one. An end does not acknowledge a FIN that is out of sequence.
//   RST  is delivered, and behind it goes a question to the endpoint: an ACK of a number that is a secret of ours. An endpoint
//        that still has the connection answers with an ACK (RFC 9293 3.10.7.4), one that has not with a RST that bears the
//        secret number: only then is the timeout that of a reset flow. What a RST must be like to be believed (RFC 5961 3.2:
//        the very next sequence number) is judged where all sequence numbers are known. It costs the packets of an
//        established flow nothing, and is right about what a comparison with the last acknowledgment misses: a RST behind
//        data that is still on its way. Asked is the endpoint whichever end the RST came from, since a connection that was
//        reset is gone at both and the way there is ours; it is asked once until it says something else.
// Of a handshake the client's initial sequence number is known: a RST that does not fit it changes nothing.
// An endpoint that answers no question (its packet filter drops what belongs to no connection) leaves a flow that was reset to
// its idle timeout. As before, a flow whose both ends go on talking after a reset is alive again.
//
// Of a one-sided flow (direct server return) only the client is heard, so what the endpoint says must be concluded:
//   opening      ends with the client's first segment after the SYN, which acknowledges a SYN-ACK that we did not see.
//   closing      begins with the client's FIN and lasts until the client has been silent for that timeout, for neither the
//                endpoint's FIN nor its last acknowledgment is seen. A new SYN, with another sequence number, ends it.
//   established  an endpoint that resets leaves the flow to its idle timeout. A SYN that comes meanwhile goes to the
//                same endpoint, which knows whether it has that connection.
//                A FIN is taken at its word: nobody's acknowledgment of it passes us.
//   reset        asked is the client, in place of the endpoint.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/net/headers.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

struct TcpSegment {
  std::uint8_t flags = 0;
  Direction direction = Direction::to_endpoint;
  std::uint32_t sequence = 0;
  std::uint32_t end = 0;             // the sequence number after it, FIN included
  std::uint32_t acknowledgment = 0;
  bool is_proof = false;             // a RST that answers our question
};

// Whether the segment leaves the flow as it is: nearly every one does.
inline bool changes_nothing(const FlowRecord& record, std::uint8_t tcp_flags) {
  const bool is_plain = (tcp_flags & (tcp_flag::syn | tcp_flag::fin | tcp_flag::rst)) == 0;
  return record.state == FlowState::established && is_plain;
}
// Updates state and flags for any segment. `fin_end`: the word of that name, the flow's or its splice's. True: the flow was not
// doubted before, and somebody is to be asked.
bool change_tcp_state(FlowRecord& record, std::uint32_t& fin_end, const TcpSegment& segment);
// Who is asked: the end to which packets of this direction go.
inline Direction to_who_knows(const FlowRecord& record) {
  return is_one_sided(record) ? Direction::to_client : Direction::to_endpoint;
}
// Whether neither end has been found to have finished: its silence is that of an established flow.
bool is_open_at_both_ends(const FlowRecord& record);
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
