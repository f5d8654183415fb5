// FlowRecord: one flow, both directions, in two cache lines.
//
//   client:port -> VIP:port   ===   snat:port -> endpoint:port        FULL_NAT
//   client:port -> VIP:port   ===   client:port -> endpoint:port      NAT, DSR_L2
//   client:port -> VIP:port   ===   our address -> endpoint           DSR_IPIP, DSR_GUE: the outer header
//
// Of a flow of direct server return (DSR) only the client's half passes us: it is known by the client's five-tuple alone.
//
// A record is self-contained, so that it outlives the process and can be sent to another box: no pointers, and no process state
// but what Conntrack can make anew. Packets need the first line only. A wide flow, one with an IPv6 side, has its addresses in
// the second; in the first are copies that Conntrack reads instead (shared_numbers()).
// Any change to the layout or the meaning raises flow_layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/flow_key.h"

namespace sluice {

inline constexpr std::uint32_t flow_layout = 6;

enum class Direction : std::uint8_t { to_endpoint, to_client };

// Direct server return: how the client's packets, left as they are, reach an endpoint that answers the client itself.
enum class Dsr : std::uint8_t {
  none,  // addresses are rewritten and the endpoint answers through us
  l2,    // by its hardware address alone
  ipip,  // in an IP header (RFC 2003, RFC 2473)
  gue,   // in UDP (draft-ietf-intarea-gue)
};

enum class FlowState : std::uint8_t {
  unused,
  opening,      // TCP: SYN seen, no answer yet
  answered,     // TCP: SYN-ACK seen
  established,  // TCP: the client acknowledged it; UDP: an answer was seen
  one_way,      // UDP: no answer yet
  closing,      // TCP: a FIN was seen, whether or not the other side has acknowledged it
  closed,       // TCP: both were acknowledged; kept for stray segments
  reset,        // TCP: a RST was believed; revived if both sides go on talking
  ended,        // TCP: we end it (drain deadline); each side is told with a reset when it speaks next
  doubted,      // TCP: a RST was seen and nobody has confirmed it: see tcp_state.h
};
const char* name_of(FlowState state);
const char* name_of(Dsr dsr);

// Seen from the balancer, by side: [0] the client's, [1] the endpoint's.
struct SideAddresses {
  Be32 remote;  // the client or endpoint
  Be32 local;   // what we show on this side
};
struct SidePorts {
  Be16 remote, local;
};

// What flows share, as Conntrack's AddressBook numbers it.
struct SharedNumbers {
  static constexpr std::uint16_t unknown = 0;    // as the endpoint's: neither is numbered, the second line must be read
  static constexpr std::uint16_t clients = 0xffff;  // as the local one's: what the endpoint sees is the client itself
  std::uint16_t endpoint, local;
};

struct alignas(64) FlowRecord {
  // First line.
  // Client side: the client and the VIP. Endpoint side: the endpoint, and the SNAT address, or the client in NAT mode and DSR_L2;
  // in a tunnel our address, and the outer UDP source port.
  union {
    SideAddresses v4[2];         // [0] when the client is IPv4, [1] when both sides are
    IpAddress client_v6{};
  };
  SidePorts ports[2];
  std::uint32_t last_seen;       // Instant::stamp() of the last packet
  std::uint32_t idle_timeout_ms; // when established
  std::uint32_t endpoint_id;
  std::uint32_t check;           // CRC-32C of what identifies the flow, for adoption; see seal()
  std::uint16_t vip_id;
  std::uint16_t l3_delta;        // IPv4 on both sides: ChecksumDelta of the rewrite to the endpoint, TTL not included
  std::uint16_t l4_delta;        // likewise; DSR_GUE: the sum of what is alike in all outer headers of the flow
  std::uint16_t neighbor[2];     // next hop by Direction, valid while neighbor_epoch is the table's
  Be16 tunnel_port;              // DSR_GUE: the outer UDP destination port
  FlowState state;
  std::uint8_t protocol;
  std::uint8_t flags;            // flow_flag::*
  Dsr dsr;                       // follows the flags: see is_rewritten_only()
  union {
    std::uint32_t client_isn;    // TCP: the client's initial sequence number, until established; one-sided: for good
    Be32 sent_to_client;         // TCP, established: of the last segment to the client, what an ICMP error must be about
    std::uint32_t fin_end;       // TCP, with fin_doubted_*: the sequence number after that FIN
    std::uint32_t splice_slot;   // spliced: number of its SpliceRecord (splices.h), which has all three
  };
  std::uint32_t neighbor_epoch;
  // Second line, of wide flows: all addresses, those of an IPv4 side too.
  IpAddress wide_remote[2];      // by side
  IpAddress wide_local[2];
};
static_assert(sizeof(FlowRecord) == 128);

namespace flow_flag {
inline constexpr std::uint8_t client_is_v6 = 1, endpoint_is_v6 = 2, is_snat = 4;
inline constexpr std::uint8_t fin_from_client = 8, fin_from_endpoint = 16;  // and it was acknowledged
inline constexpr std::uint8_t heard_client = 32, heard_endpoint = 64;  // in FlowState::reset: since the RST
inline constexpr std::uint8_t fin_doubted_client = 32, fin_doubted_endpoint = 64;  // in other states: not acknowledged yet
inline constexpr std::uint8_t is_spliced = 128;
}  // namespace flow_flag

inline bool is_wide(const FlowRecord& record) {
  return (record.flags & (flow_flag::client_is_v6 | flow_flag::endpoint_is_v6)) != 0;
}
// Of a wide flow: the numbers lie in words that it has no other use for. GUE from IPv6 has none left.
SharedNumbers shared_numbers(const FlowRecord& record);
void set_shared_numbers(FlowRecord& record, SharedNumbers numbers);

// Whether only the client's packets pass us.
inline bool is_one_sided(const FlowRecord& record) { return record.dsr != Dsr::none; }
// What nearly every flow is: neither spliced nor of direct server return. One load tells both.
inline bool is_rewritten_only(const FlowRecord& record) {
  static_assert(offsetof(FlowRecord, dsr) == offsetof(FlowRecord, flags) + 1);
  std::uint16_t both;
  std::memcpy(&both, &record.flags, sizeof both);
  return (both & (0xff00u | flow_flag::is_spliced)) == 0;
}

// The five-tuple with which packets of this direction arrive; of a one-sided flow none arrive from the endpoint, and its
// key says what stands in the outer header.
FlowKey arriving_key(const FlowRecord& record, Direction direction);
// The five-tuple with which they leave.
inline FlowKey leaving_key(const FlowRecord& record, Direction direction) {
  return arriving_key(record, direction == Direction::to_endpoint ? Direction::to_client : Direction::to_endpoint)
      .reversed();
}

// Everything that is decided when a flow opens.
struct FlowOpening {
  FlowKey from_client;  // as packets of the client arrive
  FlowKey to_endpoint;  // as they leave
  FlowState state = FlowState::opening;
  bool is_snat = true;
  bool is_spliced = false;
  Dsr dsr = Dsr::none;
  Be16 tunnel_port{};
  std::uint16_t vip_id = 0;
  std::uint32_t endpoint_id = 0;
  std::uint32_t idle_timeout_ms = 0;
  std::uint32_t client_isn = 0;  // or splice_slot
};

// TCP whose handshake is not complete. Spliced flows do not count: their clients' are.
inline bool is_half_open(const FlowOpening& opening) { return opening.state == FlowState::opening && !opening.is_spliced; }
inline bool is_half_open(const FlowRecord& record) {
  return (record.state == FlowState::opening || record.state == FlowState::answered) && (record.flags & flow_flag::is_spliced) == 0;
}

// Fills a record from scratch, checksum deltas and seal included; the state is written last.
void write_record(FlowRecord& record, const FlowOpening& opening, std::uint32_t now_stamp);
inline SharedNumbers shared_numbers(const FlowRecord& record) {
  if ((record.flags & flow_flag::client_is_v6) == 0) {
    const std::uint32_t both = record.v4[1].remote.raw;
    return {static_cast<std::uint16_t>(both), static_cast<std::uint16_t>(both >> 16)};
  }
  if (record.dsr == Dsr::gue) return {SharedNumbers::unknown, 0};
  return {record.tunnel_port.raw, record.l3_delta};
}

// The record is free. Its check goes too, so that no damage to the state alone brings a flow back that has ended.
inline void clear_record(FlowRecord& record) {
  record.state = FlowState::unused;
  record.check = 0;
}
// Whether what identifies the flow is as it was written: false for damage and for half-written records.
bool is_sealed(const FlowRecord& record);

}  // namespace sluice
