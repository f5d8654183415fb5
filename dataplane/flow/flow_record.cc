#include "dataplane/flow/flow_record.h"

#include <atomic>
#include <cstddef>
#include <span>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

// The part of the flags that never changes.
constexpr std::uint8_t fixed_flags = flow_flag::client_is_v6 | flow_flag::endpoint_is_v6 | flow_flag::is_snat | flow_flag::is_spliced;

std::uint32_t seal_of(const FlowRecord& record) {
  // Copied, so that padding, changing fields and what another process numbers stay out of the sum.
  struct Identity {
    SideAddresses v4[2];
    SidePorts ports[2];
    std::uint32_t idle_timeout_ms, endpoint_id;
    std::uint16_t vip_id, l3_delta, l4_delta;
    std::uint8_t protocol, flags, dsr, zero;
    std::uint16_t tunnel_port;
  } identity{{record.v4[0], record.v4[1]}, {record.ports[0], record.ports[1]}, record.idle_timeout_ms, record.endpoint_id, record.vip_id,
             record.l3_delta,    record.l4_delta,      record.protocol,
             static_cast<std::uint8_t>(record.flags & fixed_flags),
             static_cast<std::uint8_t>(record.dsr), 0, record.tunnel_port.raw};
  static_assert(sizeof identity == 44, "no padding");
  if (!is_wide(record)) return crc32c(std::as_bytes(std::span(&identity, 1)), flow_layout);
  identity.v4[0] = identity.v4[1] = {};
  identity.l3_delta = 0;
  if (record.dsr != Dsr::gue) identity.tunnel_port = 0;
  std::uint32_t crc = crc32c(std::as_bytes(std::span(&identity, 1)), flow_layout);
  crc = crc32c(std::as_bytes(std::span(record.wide_remote)), crc);
  return crc32c(std::as_bytes(std::span(record.wide_local)), crc);
}

// Of UDP and GUE, with the pseudo header, but for the length.
std::uint16_t sum_of_tunnel(const FlowOpening& opening) {
  const FlowKey& outer = opening.to_endpoint;
  const std::uint8_t inner_protocol = opening.from_client.source.is_v4() ? protocol::ipv4 : protocol::ipv6;
  return fold_checksum(pseudo_header_sum(outer.source, outer.destination, protocol::udp, 0) + outer.source_port.raw +
                       opening.tunnel_port.raw + be16(inner_protocol).raw);
}

}  // namespace

const char* name_of(FlowState state) {
  switch (state) {
    case FlowState::unused: return "unused";
    case FlowState::opening: return "opening";
    case FlowState::answered: return "answered";
    case FlowState::established: return "established";
    case FlowState::one_way: return "one-way";
    case FlowState::closing: return "closing";
    case FlowState::closed: return "closed";
    case FlowState::reset: return "reset";
    case FlowState::ended: return "ended";
    case FlowState::doubted: return "doubted";
  }
  return "damaged";
}

const char* name_of(Dsr dsr) {
  switch (dsr) {
    case Dsr::none: return "none";
    case Dsr::l2: return "l2";
    case Dsr::ipip: return "ipip";
    case Dsr::gue: return "gue";
  }
  return "damaged";
}

void set_shared_numbers(FlowRecord& record, SharedNumbers numbers) {
  if ((record.flags & flow_flag::client_is_v6) == 0) {
    record.v4[1].remote.raw = numbers.endpoint | std::uint32_t{numbers.local} << 16;
  } else if (record.dsr != Dsr::gue) {
    record.tunnel_port.raw = numbers.endpoint;
    record.l3_delta = numbers.local;
  }
}

FlowKey arriving_key(const FlowRecord& record, Direction direction) {
  const std::size_t side = direction == Direction::to_endpoint ? 0 : 1;
  FlowKey key;
  key.source_port = record.ports[side].remote;
  key.destination_port = record.ports[side].local;
  key.protocol = record.protocol;
  if (is_wide(record)) {
    key.source = record.wide_remote[side];
    key.destination = record.wide_local[side];
  } else {
    key.source = IpAddress::v4(record.v4[side].remote);
    key.destination = IpAddress::v4(record.v4[side].local);
  }
  return key;
}

void write_record(FlowRecord& record, const FlowOpening& opening, std::uint32_t now_stamp) {
  const FlowKey& before = opening.from_client;
  const FlowKey& after = opening.to_endpoint;
  record = FlowRecord{};
  const FlowKey arriving[] = {before, after.reversed()};  // by side
  for (std::size_t side = 0; side < 2; ++side) {
    record.ports[side] = {arriving[side].source_port, arriving[side].destination_port};
  }
  if (!before.source.is_v4()) record.flags |= flow_flag::client_is_v6;
  if (!after.destination.is_v4()) record.flags |= flow_flag::endpoint_is_v6;
  for (std::size_t side = 0; side < 2; ++side) {
    if (is_wide(record)) {
      record.wide_remote[side] = arriving[side].source;
      record.wide_local[side] = arriving[side].destination;
    } else {
      record.v4[side] = {arriving[side].source.as_v4(), arriving[side].destination.as_v4()};
    }
  }
  if (opening.is_snat) record.flags |= flow_flag::is_snat;
  if (opening.is_spliced) record.flags |= flow_flag::is_spliced;
  record.protocol = before.protocol;
  record.dsr = opening.dsr;
  record.tunnel_port = opening.tunnel_port;
  record.vip_id = opening.vip_id;
  record.endpoint_id = opening.endpoint_id;
  record.idle_timeout_ms = opening.idle_timeout_ms;
  record.client_isn = opening.client_isn;
  record.last_seen = now_stamp;

  if (opening.dsr == Dsr::none) {
    ChecksumDelta addresses;
    addresses.change(before.source, after.source).change(before.destination, after.destination);
    if (!is_wide(record)) record.l3_delta = addresses.stored();
    record.l4_delta = addresses.change(before.source_port.raw, after.source_port.raw)
                          .change(before.destination_port.raw, after.destination_port.raw)
                          .stored();
  } else if (opening.dsr == Dsr::gue) {
    record.l4_delta = sum_of_tunnel(opening);
  }
  record.check = seal_of(record);
  std::atomic_signal_fence(std::memory_order_release);  // a process killed before this line leaves no flow
  record.state = opening.state;
}

bool is_sealed(const FlowRecord& record) {
  return record.state <= FlowState::doubted && record.check == seal_of(record);
}

}  // namespace sluice
