// Splice: connections whose endpoint is chosen after their client has spoken ("delayed binding").
//
//   client                     here                                                    endpoint
//   SYN            ->  answer_with_cookie: SYN-ACK, nothing is kept       splice_peek
//   ACK            ->  the cookie is right: a PendingSplice, greeted      splice_peek
//                      it is not: a reset; ahead of the first bytes: dropped
//   first bytes    ->  held; is the ClientHello whole? where does it go?  splice_peek
//                      call_endpoint: a flow; SYN with the client's ISN   splice_join  ->
//                      its SYN-ACK: now both number spaces are known      splice_join  <-
//                      deliver: what is held, until it is acknowledged    splice_join  ->
//                      joined: the PendingSplice goes                     splice_join  <-
//   all that follows  <->  splice_packet: translate the TCP header, then the same rewrite as for any flow  <->
//
// A VIP that does not peek (no server names, or SYN cookies on a FULL_NAT VIP) calls as soon as the cookie is back, so the
// endpoint may speak first.
//
// Where a VIP has proxies before it (accept_proxy_protocol), the first bytes are a PROXY header. It is taken off when it is whole:
// `client_isn` moves behind it, and all that is told above happens to a client that began there. Its bytes may come again;
// to the endpoint they are numbers from before the connection, to be passed over as any TCP does. Whom it names is remembered
// beside the flow, for operators (named_client.h).
//
// Who keeps what reliable: bytes that we have not acknowledged are the client's to send again. A ClientHello in one segment
// is never acknowledged by us. Of an incomplete one the prefix without gaps always is (a client that is never answered
// stays at its first window), and then it is ours: it is sent again until the endpoint acknowledges it. Until then no
// byte of the client's that we hold reaches the endpoint by another way: it gets what we parsed.
#pragma once

#include "dataplane/pipeline/packet.h"
#include "dataplane/pipeline/world.h"

namespace sluice {

inline constexpr std::uint8_t our_window_scale = 7;  // what we tell clients, before we know the endpoint's
// As much as we hold: a client that sends no more loses nothing.
inline constexpr std::uint32_t greeting_window_bytes = held_bytes_max;

// Whether a TCP segment of no flow is for peek(): to a VIP whose connections begin with a cookie, always or for now. Where they
// did until lately, it is for all but SYNs.
inline bool is_peeked(const World& world, const VipRow& vip, std::uint8_t tcp_flags) {
  if (vip.syn_cookies == SynCookies::always || vip.forwarding == Forwarding::splice) return true;
  if (vip.syn_cookies == SynCookies::never) return false;
  const bool is_syn = (tcp_flags & (tcp_flag::syn | tcp_flag::ack)) == tcp_flag::syn;
  return is_syn ? world.cookie_switches.is_on(vip.id) : world.cookie_switches.may_return(vip.id, world.now);
}

// Our clock toward clients that use TCP timestamps; milliseconds.
inline std::uint32_t timestamp_now(const World& world) {
  return world.now.stamp() + static_cast<std::uint32_t>(world.cookie_secret.b);
}

inline FlowRecord& flow_of(World& world, const PendingSplice& pending) { return world.flows.at(pending.flow - 1); }

// Remembers what every segment of the client tells anew. Also what its headers say of windows and timestamps.
void hear_client(PendingSplice& pending, Packet& packet);
inline std::span<std::byte> tcp_header(Packet& packet) {  // with options
  return {packet.data + packet.frame.l4_offset, packet.at<TcpHeader>(packet.frame.l4_offset).header_bytes()};
}
std::span<std::byte> tcp_payload(Packet& packet);
// What we hold gets a checksum of ours when it leaves: so it is checked when it comes.
bool is_tcp_checksum_right(Packet& packet);

// splice_join.cc. Chooses an endpoint of the VIP's cluster, opens the flow and sends the SYN. `undecided`: done; otherwise the
// verdict for the client's packet, and the pending splice is as before.
Verdict call_endpoint(World& world, PendingSplice& pending, const VipRow& vip);

// splice_join.cc. What a segment says about a connection that is not joined yet, or a SYN about one that is. False: the packet
// has its verdict.
bool attend_to_segment(World& world, Packet& packet, FlowRecord& flow);
void lend_timestamps(World& world, Packet& packet, const SpliceRecord& splice);

// Translates the TCP header of a spliced flow's segment, which is rewritten after that like any other if it is still live:
// what rewrite() has to add to the sum of it. Inlined into the stage that calls it for every segment.
inline std::uint64_t splice_packet(World& world, Packet& packet, FlowRecord& flow) {
  const bool is_plain = flow.state == FlowState::established && (packet.frame.tcp_flags & tcp_flag::syn) == 0;
  if (!is_plain || world.splices[flow.splice_slot].pending != 0) [[unlikely]] {
    if (!attend_to_segment(world, packet, flow)) return 0;
  }
  SpliceRecord& splice = world.splices[flow.splice_slot];
  if (packet.direction == Direction::to_endpoint) return translate_to_endpoint(splice, tcp_header(packet));
  const std::uint64_t change = translate_to_client(splice, tcp_header(packet));
  if (flow.state == FlowState::established) splice.sent_to_client = packet.at<TcpHeader>(packet.frame.l4_offset).sequence;
  if ((splice.flags & splice_flag::lends_timestamps) != 0) [[unlikely]] lend_timestamps(world, packet, splice);
  return change;
}

// A segment that we send ourselves.
struct OwnSegment {
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;  // with tcp_flag::ack
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::span<const std::byte> options{};  // a multiple of 4 bytes
  std::span<const std::byte> payload{};  // copied; at most proxy_header_bytes_max
  std::span<const std::byte> tail{};     // more payload, which stays where it is until the burst is sent
};
// splice_segments.cc. In place, back to the sender; what does not fit (options, then payload) is left out.
void answer(Packet& packet, const OwnSegment& segment, Verdict verdict);
// As a frame of our own. False: no room, no route, or the next hop's hardware address is not known yet and was asked for.
bool send_to_endpoint(World& world, const FlowRecord& flow, const OwnSegment& segment);
bool send_to_client(World& world, const PendingSplice& pending, const OwnSegment& segment);

}  // namespace sluice
