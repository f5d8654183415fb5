// Packet and Burst: what the stages work on. A Packet views a frame that somebody else owns (an mbuf,
// a test's array); the pipeline rewrites the bytes in place and decides, it never frees or sends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/flow/flow_record.h"
#include "dataplane/net/parsed_frame.h"
#include "dataplane/pipeline/verdict.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

inline constexpr std::uint32_t burst_count_max = 32;
inline constexpr std::size_t generated_count_max = 128;  // frames of our own beside a burst
// What our kernel sees behind the exception port, whatever address it asks for: the dataplane routes for it.
inline constexpr MacAddress exception_gateway_mac{{0x02, 0x53, 0x4c, 0x55, 0x49, 0x43}};

struct Packet {
  // Set by whoever received the frame.
  std::byte* data = nullptr;
  void* handle = nullptr;   // the owner's: an mbuf
  std::uint16_t bytes = 0;  // of the frame, without FCS
  std::uint16_t port = 0;   // index of the port it came in by
  std::uint16_t headroom = 0;  // bytes before `data` that are the frame's to grow into
  std::uint8_t hops = 0;    // lcores that have handed it on already
  bool is_fragment = false; // set by handle_fragment: the first of a datagram; by families.cc: leaves as a fragment
  bool is_resumed = false;  // a fragment that had waited for its first

  // Set by the stages.
  Verdict verdict = Verdict::undecided;
  Direction direction = Direction::to_endpoint;
  bool may_be_cut = false;        // in a tunnel, and too long: see dsr.cc
  bool is_shared = false;         // ARP and ND that every lcore must learn from: settle copies it to the others
  std::uint8_t target_lcore = 0;  // with Verdict::handoff
  std::uint16_t tx_port = 0;      // with forward, reply and hold
  ParsedFrame frame;
  FlowHash hash = 0;
  FlowRecord* flow = nullptr;
  const VipRow* vip = nullptr;

  bool is_live() const { return verdict == Verdict::undecided; }
  std::span<std::byte> span() { return {data, bytes}; }
  template <class Header>
  Header& at(std::size_t offset) {
    return *reinterpret_cast<Header*>(data + offset);
  }
};

struct Burst {
  std::array<Packet, burst_count_max> packets;
  std::uint32_t count = 0;

  std::span<Packet> all() { return {packets.data(), count}; }
  // The next packet to fill in; its stage fields are as new.
  Packet& add() {
    Packet& packet = packets[count++];
    packet = Packet{};
    return packet;
  }
  bool is_full() const { return count == burst_count_max; }
};

// A packet that waited for its next hop and now leaves the hold queue.
struct ReleasedPacket {
  void* handle = nullptr;
  std::uint16_t bytes = 0;
  std::uint16_t tx_port = 0;
  Verdict verdict = Verdict::undecided;  // forward, or drop_neighbor_unresolved
};

// A frame that the balancer makes itself: ARP, neighbour discovery, segments of spliced connections, what is cut off a
// packet. What does not fit into `data` lies in `tail`, which must stay as it is until the burst is settled; it may be in a
// packet of the burst.
struct GeneratedFrame {
  std::array<std::byte, 208> data;
  std::uint16_t bytes = 0;  // in data
  std::uint16_t tx_port = 0;
  std::span<const std::byte> tail{};
};

}  // namespace sluice
