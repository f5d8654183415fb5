// The same input for every contestant: frames of N flows in random order, written into a batch of
// buffers outside of the timed part. A flow's addresses are computed from its number, so that
// writing a frame warms none of the memory that the contestant is about to look up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "perf/common/frame.h"

namespace sluice::perf {

inline constexpr std::size_t batch_count = 2'048;  // 64 bursts: 128 KiB of frames, which stay in L2

struct alignas(64) Frame {
  std::byte bytes[64];
};

inline constexpr MacAddress client_mac{{2, 0, 0, 0, 0, 1}}, our_mac{{2, 0, 0, 0, 0, 2}};
inline constexpr std::uint32_t client_isn = 1'000, endpoint_isn = 7'000;

inline FlowKey key_of(std::uint32_t flow, std::uint8_t protocol_number, bool is_v6) {
  FlowKey key;
  const std::uint32_t client = 0x0b000000u + flow / 16'384;  // 11.0.0.0 onward, 16,384 ports each
  if (is_v6) {
    key.source = *IpAddress::parse("2001:db8:1::");
    key.source.low = static_cast<std::uint64_t>(be32(client).raw) << 32;
    key.destination = *IpAddress::parse("2001:db8:ffff::1");
  } else {
    key.source = IpAddress::v4(be32(client));
    key.destination = *IpAddress::parse("10.0.0.1");
  }
  key.source_port = be16(static_cast<std::uint16_t>(1'024 + flow % 16'384));
  key.destination_port = be16(80);
  key.protocol = protocol_number;
  return key;
}

inline std::uint16_t write_frame(std::byte* out, const FlowKey& key, std::uint8_t tcp_flags) {
  std::memset(out, 0, 80);
  FrameFields fields;
  fields.to = our_mac;
  fields.from = client_mac;
  fields.tcp_flags = tcp_flags;
  fields.payload_bytes = key.protocol == protocol::tcp ? 0 : 12;
  return write_headers(out, key, fields);
}

// The five-tuple of a packet without options or extension headers.
inline FlowKey key_at(const std::byte* l3, bool is_v4) {
  FlowKey key;
  const std::byte* l4;
  if (is_v4) {
    const auto& ip = *reinterpret_cast<const Ipv4Header*>(l3);
    key.source = IpAddress::v4(ip.source);
    key.destination = IpAddress::v4(ip.destination);
    key.protocol = ip.protocol;
    l4 = l3 + sizeof(Ipv4Header);
  } else {
    const auto& ip = *reinterpret_cast<const Ipv6Header*>(l3);
    key.source = IpAddress::v6(ip.source);
    key.destination = IpAddress::v6(ip.destination);
    key.protocol = ip.next_header;
    l4 = l3 + sizeof(Ipv6Header);
  }
  const auto& ports = *reinterpret_cast<const UdpHeader*>(l4);  // the same place in TCP
  key.source_port = ports.source_port;
  key.destination_port = ports.destination_port;
  return key;
}

inline FlowKey key_in(const std::byte* frame) {
  return key_at(frame + sizeof(EthernetHeader), reinterpret_cast<const EthernetHeader*>(frame)->type == ether_type::ipv4);
}

class FlowOrder {  // random flow numbers, the same in every run
 public:
  explicit FlowOrder(std::uint32_t flows) : flows_(flows) {}
  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>((state_ >> 32) * flows_ >> 32);
  }

 private:
  std::uint32_t flows_;
  std::uint64_t state_ = 0x2545f4914f6cdd1dull;
};

}  // namespace sluice::perf
