// IP headers written in front of a payload. Field by field where they belong, and the checksum summed from what is in
// registers: a header read back right after its parts were written would wait for each of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice {

struct IpFields {
  std::uint8_t protocol = 0;       // of the payload
  std::uint8_t traffic_class = 0;  // DSCP and ECN
  std::uint8_t ttl = 0;
  bool is_kept_whole = true;       // IPv4: DF
  std::uint16_t id = 0;            // IPv4: where DF is not set
  std::uint32_t flow_label = 0;    // IPv6
  std::uint16_t fragment_word = 0; // IPv4, where DF is not set: more fragments follow, offset in units of eight bytes
};

// 20 bytes at `out`.
inline void write_ipv4(std::byte* out, Be32 source, Be32 destination, std::size_t payload_bytes, const IpFields& fields) {
  const auto total_bytes = static_cast<std::uint16_t>(sizeof(Ipv4Header) + payload_bytes);
  const std::uint32_t first = 0x45u | std::uint32_t{fields.traffic_class} << 8 | std::uint32_t{be16(total_bytes).raw} << 16;
  const std::uint32_t second = fields.is_kept_whole
                                   ? std::uint32_t{be16(0x4000).raw} << 16
                                   : std::uint32_t{be16(fields.id).raw} | std::uint32_t{be16(fields.fragment_word).raw} << 16;
  const std::uint32_t third = fields.ttl | std::uint32_t{fields.protocol} << 8;
  const std::uint64_t sum = std::uint64_t{first} + second + third + source.raw + destination.raw;
  const std::uint32_t words[] = {first, second,
                                 third | static_cast<std::uint32_t>(static_cast<std::uint16_t>(~fold_checksum(sum))) << 16,
                                 source.raw, destination.raw};
  static_assert(sizeof words == sizeof(Ipv4Header));
  for (std::size_t i = 0; i < std::size(words); ++i) std::memcpy(out + 4 * i, &words[i], 4);
}

// 40 bytes at `out`.
inline void write_ipv6(std::byte* out, const IpAddress& source, const IpAddress& destination, std::size_t payload_bytes,
                       const IpFields& fields) {
  const std::uint64_t first =
      be32(6u << 28 | std::uint32_t{fields.traffic_class} << 20 | fields.flow_label).raw |
      static_cast<std::uint64_t>(be16(static_cast<std::uint16_t>(payload_bytes)).raw | fields.protocol << 16 | fields.ttl << 24) << 32;
  std::memcpy(out, &first, sizeof first);
  std::memcpy(out + 8, &source, sizeof source);
  std::memcpy(out + 24, &destination, sizeof destination);
}

}  // namespace sluice
