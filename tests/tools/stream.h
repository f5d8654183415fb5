// The keyed stream that `flows` sends and its server echoes. Every message names its flow, its
// place in the flow and its size; the rest is pseudo-random bytes keyed by both, so that a receiver
// can tell "damaged" from "another flow's" without remembering what was sent.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace sluice::tools {

constexpr std::uint32_t kStreamMagic = 0x31574c46;  // "FLW1", host byte order: both ends are here
constexpr std::size_t kNameSize = 16;               // what the server says first, padded with zeros

struct MessageHeader {
  std::uint32_t magic;
  std::uint32_t size;  // of the whole message, header included
  std::uint64_t run;   // differs from run to run
  std::uint64_t flow;
  std::uint64_t index;  // 0, 1, 2, ... within the flow
};
static_assert(sizeof(MessageHeader) == 32);

constexpr std::size_t kMessageBytesMax = 65000;

enum class MessageCheck { right, wrong_flow, wrong_bytes };

inline std::uint64_t next_random(std::uint64_t& state) {  // splitmix64
  std::uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Calls `visit(offset, byte)` for each byte behind the header.
template <class Visit>
void for_each_body_byte(const MessageHeader& header, Visit visit) {
  std::uint64_t state = header.run ^ (header.flow << 24) ^ (header.index * 0x9e3779b1);
  std::uint64_t word = 0;
  for (std::size_t i = sizeof(MessageHeader); i < header.size; ++i) {
    if (i % 8 == 0) word = next_random(state);
    visit(i, static_cast<std::uint8_t>(word >> (8 * (i % 8))));
  }
}

inline void write_message(std::span<std::uint8_t> out, std::uint64_t run, std::uint64_t flow,
                          std::uint64_t index) {
  MessageHeader header{kStreamMagic, static_cast<std::uint32_t>(out.size()), run, flow, index};
  std::memcpy(out.data(), &header, sizeof header);
  for_each_body_byte(header, [&](std::size_t i, std::uint8_t byte) { out[i] = byte; });
}

// A header that no sender of ours writes is wrong bytes, not a size to believe.
inline bool has_sane_header(const MessageHeader& header) {
  return header.magic == kStreamMagic && header.size >= sizeof header &&
         header.size <= kMessageBytesMax;
}

// Is `message` undamaged, and is it `flow`'s? Its place in the flow is the caller's to compare.
inline MessageCheck check_message(std::span<const std::uint8_t> message, std::uint64_t run,
                                  std::uint64_t flow) {
  MessageHeader header{};
  if (message.size() < sizeof header) return MessageCheck::wrong_bytes;
  std::memcpy(&header, message.data(), sizeof header);
  if (!has_sane_header(header) || header.size != message.size()) return MessageCheck::wrong_bytes;
  bool is_intact = true;
  for_each_body_byte(header, [&](std::size_t i, std::uint8_t byte) {
    if (message[i] != byte) is_intact = false;
  });
  if (!is_intact) return MessageCheck::wrong_bytes;
  return header.run == run && header.flow == flow ? MessageCheck::right : MessageCheck::wrong_flow;
}

}  // namespace sluice::tools
