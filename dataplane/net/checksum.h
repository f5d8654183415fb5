// The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//
// A rewrite changes the same fields of every packet of a flow in the same way, so its effect on the
// checksum is one 16-bit number: a ChecksumDelta is computed once when the flow opens and added to
// each packet. The delta of the opposite rewrite is its complement.
// All sums are over 16-bit words as they lie in memory; byte order does not matter (RFC 1071, 2B).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/net/address.h"

namespace sluice {

// Halves are added by adding the sum to itself turned by half its width: the carry out of the lower half arrives where the end-around
// carry belongs, and the upper half has it all.
inline std::uint16_t fold_checksum(std::uint64_t sum) {
  const auto half = static_cast<std::uint32_t>((sum + std::rotl(sum, 32)) >> 32);
  return static_cast<std::uint16_t>((half + std::rotl(half, 16)) >> 16);
}

// One's complement sum, not yet folded or inverted. At most 64 KiB.
inline std::uint64_t checksum_sum(std::span<const std::byte> bytes, std::uint64_t sum = 0) {
  while (bytes.size() >= 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    sum += (word & 0xffffffff) + (word >> 32);
    bytes = bytes.subspan(8);
  }
  if (bytes.size() >= 4) {
    std::uint32_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    sum += word;
    bytes = bytes.subspan(4);
  }
  if (bytes.size() >= 2) {
    std::uint16_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    sum += word;
    bytes = bytes.subspan(2);
  }
  if (!bytes.empty()) sum += static_cast<std::uint8_t>(bytes[0]);
  return sum;
}

// Whether the words of a header, its checksum among them, add up to what they must: in one's complement to 0xffff, which
// is to say to a multiple of it. No such header is all zeros.
inline bool is_right_sum(std::uint64_t sum) { return sum % 0xffff == 0; }

inline std::uint16_t checksum_of(std::span<const std::byte> bytes, std::uint64_t sum = 0) {
  return static_cast<std::uint16_t>(~fold_checksum(checksum_sum(bytes, sum)));
}

// The sum of the pseudo header of RFC 793 / RFC 8200 8.1. Families must agree.
inline std::uint64_t pseudo_header_sum(IpAddress source, IpAddress destination, std::uint8_t protocol,
                                       std::uint32_t payload_bytes) {
  std::uint64_t sum = be32(payload_bytes).raw;
  sum += static_cast<std::uint64_t>(protocol) << 8;
  if (source.is_v4()) {
    sum += source.as_v4().raw;
    sum += destination.as_v4().raw;
  } else {
    for (const std::uint64_t word : {source.high, source.low, destination.high, destination.low}) {
      sum += (word & 0xffffffff) + (word >> 32);
    }
  }
  return sum;
}

class ChecksumDelta {
 public:
  constexpr ChecksumDelta() = default;
  constexpr explicit ChecksumDelta(std::uint16_t stored) : delta_(stored) {}

  // Says that the 16-bit word `before` becomes `after`. Chains.
  ChecksumDelta& change(std::uint16_t before, std::uint16_t after) {
    delta_ = fold_checksum(std::uint64_t{delta_} + static_cast<std::uint16_t>(~before) + after);
    return *this;
  }
  ChecksumDelta& change(IpAddress before, IpAddress after) {
    for (unsigned shift = 0; shift < 64; shift += 16) {
      change(static_cast<std::uint16_t>(before.high >> shift), static_cast<std::uint16_t>(after.high >> shift));
      change(static_cast<std::uint16_t>(before.low >> shift), static_cast<std::uint16_t>(after.low >> shift));
    }
    return *this;
  }

  constexpr ChecksumDelta reversed() const { return ChecksumDelta(static_cast<std::uint16_t>(~delta_)); }
  constexpr std::uint16_t stored() const { return delta_; }

  // The checksum field after the rewrite: ~(~checksum + delta).
  std::uint16_t apply_to(std::uint16_t checksum) const {
    std::uint32_t sum = static_cast<std::uint16_t>(~checksum);
    sum += delta_;
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
  }

 private:
  std::uint16_t delta_ = 0;
};

}  // namespace sluice
