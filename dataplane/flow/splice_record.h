// SpliceRecord: what is added to and taken from the TCP headers of a spliced flow, beside its FlowRecord.
//
// We answered the client's SYN before there was an endpoint, so each side knows the other's numbers by another name:
//
//   to the endpoint   acknowledgment, SACK blocks and echoed timestamps are what the endpoint has sent: minus the delta
//   to the client     sequence and timestamps: plus the delta
//
// The client's own sequence numbers need no change: the connection to the endpoint was opened with them. Windows are shifted
// where the two sides agreed on other scales. What the client was promised and the endpoint does not speak is taken out
// of its segments (SACK, timestamps) and put into the endpoint's (timestamps).
// Self-contained like the FlowRecord, and in the same file: both outlive the process. Any change raises flow_layout.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/byte_order.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice {

struct SpliceRecord {
  std::uint32_t check = 0;           // seal_of(), once both sides are joined
  std::uint32_t sequence_delta = 0;
  std::uint32_t timestamp_delta = 0;
  std::uint32_t client_isn = 0;
  std::uint32_t client_timestamp = 0;  // the client's last, with splice_flag::lends_timestamps; not sealed
  std::uint32_t pending = 0;         // 1 + index of the PendingSplice; 0: joined. Means nothing to another process
  std::int8_t shift_to_client = 0;   // of windows: positive to the left
  std::int8_t shift_to_endpoint = 0;
  std::uint8_t flags = 0;            // splice_flag::*
  std::uint8_t is_used = 0;
  union {                            // as in the FlowRecord; numbers as the client knows them
    std::uint32_t fin_end = 0;
    Be32 sent_to_client;
  };
};
static_assert(sizeof(SpliceRecord) == 32);

namespace splice_flag {
inline constexpr std::uint8_t lends_timestamps = 1;  // the client has them, the endpoint has not
inline constexpr std::uint8_t removes_sack = 2;      // likewise
}  // namespace splice_flag

// CRC-32C of what was agreed upon with both sides, and of FlowRecord::check of the flow that it belongs to.
std::uint32_t seal_of(const SpliceRecord& splice, std::uint32_t flow_check);
// Whether a record that an earlier process left belongs to this flow and is as it was written. A wrong delta would put
// bytes of a connection in the wrong place, and nobody could tell.
bool is_sealed(const SpliceRecord& splice, std::uint32_t flow_check);

// Translates the TCP header in place, all but its checksum: gives what that changes in the sum of it (RFC 1624, equation 3),
// not folded, so that the segment's checksum is updated once for all that a rewrite changes, a wrong one stays wrong, and
// nothing waits for the words that were just written. `header` is the whole header with its options, lengths checked.
// Inlined into the stage that calls it for every segment; options, which are rarer, are out of line.
std::uint64_t translate_to_endpoint(SpliceRecord& splice, std::span<std::byte> header);
std::uint64_t translate_to_client(const SpliceRecord& splice, std::span<std::byte> header);

// The options of a header; what they change in the sum of it, not folded.
std::uint32_t translate_options_to_endpoint(SpliceRecord& splice, std::span<std::byte> options);
std::uint32_t translate_options_to_client(const SpliceRecord& splice, std::span<std::byte> options);

// What a scale of `shift` makes of the window; what that changes in the sum of the header. The window of a SYN has no scale.
inline std::uint32_t shift_window(TcpHeader& tcp, int shift) {
  if (shift == 0 || (tcp.flags & tcp_flag::syn) != 0) return 0;
  const std::uint32_t before = tcp.window.host();
  const std::uint32_t wide = shift > 0 ? before << shift : before >> -shift;
  const Be16 now = be16(static_cast<std::uint16_t>(std::min(wide, 0xffffu)));
  const std::uint32_t change = std::uint32_t{static_cast<std::uint16_t>(~tcp.window.raw)} + now.raw;
  tcp.window = now;
  return change;
}

// Adds to a number of the header; what that changes in the sum of it.
inline std::uint64_t add_to(Be32& number, std::uint32_t delta) {
  const Be32 now = be32(number.host() + delta);
  const std::uint64_t change = std::uint64_t{static_cast<std::uint32_t>(~number.raw)} + now.raw;
  number = now;
  return change;
}

inline std::uint64_t translate_to_endpoint(SpliceRecord& splice, std::span<std::byte> header) {
  auto& tcp = *reinterpret_cast<TcpHeader*>(header.data());
  std::uint64_t change = shift_window(tcp, splice.shift_to_endpoint);
  if ((tcp.flags & tcp_flag::ack) != 0) change += add_to(tcp.acknowledgment, 0 - splice.sequence_delta);
  if (header.size() > sizeof tcp) change += translate_options_to_endpoint(splice, header.subspan(sizeof tcp));
  return change;
}

inline std::uint64_t translate_to_client(const SpliceRecord& splice, std::span<std::byte> header) {
  auto& tcp = *reinterpret_cast<TcpHeader*>(header.data());
  std::uint64_t change = add_to(tcp.sequence, splice.sequence_delta) + shift_window(tcp, splice.shift_to_client);
  if (header.size() > sizeof tcp) change += translate_options_to_client(splice, header.subspan(sizeof tcp));
  return change;
}

}  // namespace sluice
