// TCP, UDP and fragments as bytes of Ethernet frames, for the tools that speak below the kernel's stack. Written from the RFCs
// and not from the product, so that a mistake is not made twice.
// Numbers are in host byte order. Threads: none. Memory: the caller's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tests/tools/common.h"
#include "tests/tools/raw_port.h"

namespace sluice::tools {

namespace flag {
inline constexpr std::uint8_t fin = 1, syn = 2, rst = 4, psh = 8, ack = 16;
}

// IPv4 addresses use the first four bytes, the rest is 0.
using IpBytes = std::array<std::uint8_t, 16>;

struct Tuple {
  bool is_v6 = false;
  IpBytes source{}, destination{};
  std::uint16_t source_port = 0, destination_port = 0;

  bool operator==(const Tuple&) const = default;
  Tuple reversed() const { return {is_v6, destination, source, destination_port, source_port}; }
};

struct TupleHash {
  std::size_t operator()(const Tuple& tuple) const;
};

void set_address(Tuple& tuple, const Address& address, bool is_source);  // and the port

// What stands in front of every frame.
struct Link {
  Mac source{}, destination{};
};

struct Segment {
  std::uint32_t sequence = 0, acknowledgment = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 65535;
  std::span<const std::uint8_t> options{};  // a multiple of 4 bytes
  std::span<const std::uint8_t> payload{};
};

inline constexpr std::size_t frame_bytes_max = 1514;

// Each writes a whole frame into `out` (frame_bytes_max bytes of room) and returns its length.
std::size_t write_tcp(std::uint8_t* out, const Link& link, const Tuple& tuple, const Segment& segment);
std::size_t write_udp(std::uint8_t* out, const Link& link, const Tuple& tuple, std::span<const std::uint8_t> payload);
// A part of a UDP datagram, from `offset` (a multiple of 8) of what follows the IP header on. IPv4 only.
std::size_t write_fragment(std::uint8_t* out, const Link& link, const Tuple& tuple, std::uint16_t datagram_id, std::uint16_t offset,
                           bool is_last, std::span<const std::uint8_t> bytes);

// A TCP segment as it was received; the spans point into the frame.
struct HeardSegment {
  Tuple tuple;
  Segment segment;
};
// Without IPv6 extension headers, which no kernel puts before TCP. Says nothing of checksums: wirecheck does.
std::optional<HeardSegment> read_tcp(std::span<const std::uint8_t> frame);

}  // namespace sluice::tools
