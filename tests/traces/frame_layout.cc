#include "tests/traces/frame_layout.h"

namespace sluice::trace {
namespace {

// RFC 1071, the plain way: sixteen bits at a time, high byte first.
std::uint16_t plain_checksum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(byte_at(bytes, i) << 8 | (i + 1 < bytes.size() ? byte_at(bytes, i + 1) : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

// UDP says itself how long it is; what the IP packet has behind it is not summed (RFC 768).
std::size_t summed_end(std::span<const std::byte> frame, const Layout& at) {
  if (at.protocol != 17 || at.is_fragment) return at.end;
  const std::size_t stated = read(frame, at.l4 + 4, 2);
  return stated >= 8 && at.l4 + stated < at.end ? at.l4 + stated : at.end;
}

}  // namespace

std::uint32_t read(std::span<const std::byte> bytes, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | byte_at(bytes, at + i);
  return value;
}
void write(std::span<std::byte> bytes, std::size_t at, std::size_t count, std::uint64_t value) {
  for (std::size_t i = count; i-- > 0; value >>= 8) bytes[at + i] = static_cast<std::byte>(value & 0xff);
}

std::optional<Layout> layout_of(std::span<const std::byte> frame) {
  if (frame.size() < ethernet_bytes) return std::nullopt;
  const std::uint32_t type = read(frame, 12, 2);
  Layout at;
  if (type == 0x0800 && frame.size() >= at.l3 + 20) {
    at.is_v4 = true;
    at.l4 = at.l3 + (byte_at(frame, at.l3) & 0xfu) * 4u;
    at.end = at.l3 + read(frame, at.l3 + 2, 2);
    at.protocol = byte_at(frame, at.l3 + 9);
    const std::uint32_t word = read(frame, at.l3 + 6, 2);
    at.fragment_offset = (word & 0x1fff) * 8;
    at.has_more = (word & 0x2000) != 0;
    at.is_fragment = at.has_more || at.fragment_offset != 0;
    at.fragment_id = read(frame, at.l3 + 4, 2);
  } else if (type == 0x86dd && frame.size() >= at.l3 + 40) {
    at.l4 = at.l3 + 40;
    at.end = at.l4 + read(frame, at.l3 + 4, 2);
    at.protocol = byte_at(frame, at.l3 + 6);
    while (at.protocol == 0 || at.protocol == 43 || at.protocol == 60 || at.protocol == 44) {
      if (at.l4 + 8 > frame.size()) return std::nullopt;
      if (at.protocol == 44) {
        const std::uint32_t word = read(frame, at.l4 + 2, 2);
        at.fragment_offset = word & 0xfff8;
        at.has_more = (word & 1) != 0;
        at.is_fragment = at.has_more || at.fragment_offset != 0;
        at.fragment_id = read(frame, at.l4 + 4, 4);
        at.protocol = byte_at(frame, at.l4);
        at.l4 += 8;
        if (at.is_fragment) break;
        continue;
      }
      at.protocol = byte_at(frame, at.l4);
      at.l4 += (byte_at(frame, at.l4 + 1) + 1u) * 8u;
    }
  } else {
    return std::nullopt;
  }
  if (at.l4 < at.l3 + 20 || at.l4 > at.end || at.end > frame.size()) return std::nullopt;
  return at;
}

std::size_t l4_header_bytes_min(std::uint8_t protocol) {
  return protocol == 6 ? 20 : protocol == 17 || protocol == 1 || protocol == 58 ? 8 : 0;
}

std::uint16_t l4_checksum(std::span<const std::byte> frame, const Layout& at) {
  const std::size_t end = summed_end(frame, at);
  Bytes covered;
  if (at.protocol != 1) {
    const std::size_t address_bytes = at.is_v4 ? 4 : 16;
    const std::size_t addresses = at.l3 + (at.is_v4 ? 12 : 8);
    covered.assign(frame.begin() + static_cast<long>(addresses),
                   frame.begin() + static_cast<long>(addresses + 2 * address_bytes));
    append(covered, 4, end - at.l4);
    append(covered, 4, at.protocol);
  }
  const std::size_t pseudo_bytes = covered.size();
  covered.insert(covered.end(), frame.begin() + static_cast<long>(at.l4), frame.begin() + static_cast<long>(end));
  write(covered, pseudo_bytes + checksum_offset(at.protocol), 2, 0);
  const std::uint16_t checksum = plain_checksum(covered);
  return at.protocol == 17 && checksum == 0 ? 0xffff : checksum;
}

std::uint16_t ip_checksum(std::span<const std::byte> frame, const Layout& at) {
  Bytes header(frame.begin() + static_cast<long>(at.l3), frame.begin() + static_cast<long>(at.l4));
  write(header, 10, 2, 0);
  return plain_checksum(header);
}

}  // namespace sluice::trace
