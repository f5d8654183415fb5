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

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/byte_order.h"

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

// Rewrites the TCP header in place, its checksum included (by difference: a wrong one stays wrong). `header` is the whole
// header with its options, lengths checked.
void translate_to_endpoint(SpliceRecord& splice, std::span<std::byte> header);
void translate_to_client(const SpliceRecord& splice, std::span<std::byte> header);

}  // namespace sluice
