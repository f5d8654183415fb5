// A client's TCP connection, as much of it as a balancer sees: open, exchange, close. Pure.
//
//   SYN >   < SYN-ACK   ACK >   request >   < response   ACK >   FIN-ACK >   < FIN-ACK   ACK >
//
// Nine packets with one exchange, three more for each further one. The endpoint's half is in
// reflect.h; it keeps no state, so the numbers of both halves must be right.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/net/headers.h"

namespace sluice::perf {

enum class FlowPhase : std::uint8_t { idle, opening, open, waiting, closing };

struct Train {
  std::uint32_t sequence = 0;        // of the next segment
  std::uint32_t acknowledgment = 0;  // what we expect next of the endpoint
  std::uint16_t exchanges_left = 0;
  FlowPhase phase = FlowPhase::idle;
};

enum class TrainEvent : std::uint8_t {
  none,
  opened,
  answered,  // a response
  closed,    // in order, by both sides
  reset,
  stray,  // nothing that belongs here now: a duplicate, or of an earlier connection
};

struct TrainSegment {
  std::uint8_t tcp_flags;
  bool has_payload;
};
struct TrainStep {
  TrainEvent event = TrainEvent::none;
  std::uint8_t count = 0;
  std::array<TrainSegment, 2> segments{};  // to be sent, with the numbers that advance() gives

  void send(std::uint8_t tcp_flags, bool has_payload = false) {
    segments[count++] = {tcp_flags, has_payload};
  }
};

// The connection begins with this initial sequence number; a SYN is to be sent.
TrainStep begin(Train& train, std::uint32_t initial_sequence, std::uint16_t exchanges);

// A segment came. With no exchanges wanted a connection stays open.
TrainStep on_segment(Train& train, std::uint8_t tcp_flags, std::uint32_t sequence,
                     std::uint32_t acknowledgment, std::uint32_t payload_bytes);

// To be called when a segment leaves: its sequence number.
std::uint32_t advance(Train& train, const TrainSegment& segment, std::uint32_t payload_bytes);

}  // namespace sluice::perf
