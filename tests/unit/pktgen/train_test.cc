#include "perf/pktgen/train.h"

#include <gtest/gtest.h>

#include "perf/common/frame.h"
#include "perf/pktgen/reflect.h"

namespace sluice::perf::train_test {
namespace {

using namespace tcp_flag;

// What an endpoint of reflect.h answers, as the client sees it.
struct Endpoint {
  std::uint32_t sequence = 0, acknowledgment = 0;
  std::uint8_t flags = 0;

  bool answer(const Train& train, std::uint32_t sequence_sent, const TrainSegment& segment,
              std::uint32_t payload_bytes) {
    FlowKey key{*IpAddress::parse("10.0.0.1"), *IpAddress::parse("10.0.0.2"), be16(1), be16(2),
                protocol::tcp};
    std::byte frame[128]{};
    FrameFields fields;
    fields.tcp_flags = segment.tcp_flags;
    fields.sequence = sequence_sent;
    fields.acknowledgment = train.acknowledgment;
    fields.payload_bytes = segment.has_payload ? payload_bytes : 0;
    const std::size_t bytes = write_headers(frame, key, fields);
    ParsedFrame parsed;
    parse_frame({frame, bytes}, parsed);
    EXPECT_EQ(parsed.fault, ParseFault::none);
    if (!reflect({frame, bytes}, parsed)) return false;
    const auto& tcp = *reinterpret_cast<const TcpHeader*>(frame + parsed.l4_offset);
    *this = {tcp.sequence.host(), tcp.acknowledgment.host(), tcp.flags};
    return true;
  }
};

std::string flags_text(std::uint8_t flags) {
  std::string text;
  for (const auto& [bit, letter] :
       {std::pair{syn, 'S'}, {fin, 'F'}, {rst, 'R'}, {psh, 'P'}, {ack, 'A'}}) {
    if ((flags & bit) != 0) text += letter;
  }
  return text;
}

// Both halves of a connection against each other; the segments in the order in which they are sent.
std::string whole_connection(std::uint16_t exchanges) {
  Train train;
  Endpoint endpoint;
  std::string log;
  TrainStep step = begin(train, 0xfffffffe, exchanges);  // numbers wrap on the way
  for (int rounds = 0; step.count > 0 && rounds < 100; ++rounds) {
    bool is_answered = false;
    for (std::size_t i = 0; i < step.count; ++i) {
      const TrainSegment& segment = step.segments[i];
      const std::uint32_t sequence = advance(train, segment, 6);
      log += "> " + flags_text(segment.tcp_flags) + " ";
      if (endpoint.answer(train, sequence, segment, 6)) {
        EXPECT_FALSE(is_answered) << "two answers to one step";
        is_answered = true;
        log += "< " + flags_text(endpoint.flags) + " ";
      }
    }
    if (!is_answered) break;
    const bool has_payload = (endpoint.flags & psh) != 0;
    step = on_segment(train, endpoint.flags, endpoint.sequence, endpoint.acknowledgment,
                      has_payload ? 6 : 0);
    EXPECT_NE(step.event, TrainEvent::stray) << log;
  }
  EXPECT_EQ(train.phase, exchanges == 0 ? FlowPhase::open : FlowPhase::idle) << log;
  return log;
}

TEST(Train, OneExchangeIsNinePackets) {
  EXPECT_EQ(whole_connection(1), "> S < SA > A > PA < PA > A > FA < FA > A ");
}
TEST(Train, EachFurtherExchangeIsThree) {
  EXPECT_EQ(whole_connection(3),
            "> S < SA > A > PA < PA > A > PA < PA > A > PA < PA > A > FA < FA > A ");
}
TEST(Train, WithoutExchangesItStaysOpen) {
  EXPECT_EQ(whole_connection(0), "> S < SA > A ");
}

TEST(Train, WhatDoesNotBelongIsAStrayAndChangesNothing) {
  Train train;
  const TrainStep first = begin(train, 100, 1);
  advance(train, first.segments[0], 0);
  struct Case {
    const char* name;
    std::uint8_t flags;
    std::uint32_t sequence, acknowledgment, payload;
  };
  const auto expect_strays = [&](std::initializer_list<Case> cases) {
    for (const Case& one : cases) {
      const Train before = train;
      EXPECT_EQ(on_segment(train, one.flags, one.sequence, one.acknowledgment, one.payload).event,
                TrainEvent::stray)
          << one.name;
      EXPECT_EQ(train.phase, before.phase) << one.name;
      EXPECT_EQ(train.acknowledgment, before.acknowledgment) << one.name;
    }
  };
  expect_strays({{"SYN-ACK of another SYN", syn | ack, 500, 100, 0},
                 {"ACK before the SYN-ACK", ack, 500, 101, 0},
                 {"data before the SYN-ACK", psh | ack, 500, 101, 6},
                 {"SYN without ACK", syn, 500, 101, 0}});
  const TrainStep opened = on_segment(train, syn | ack, 500, 101, 0);
  EXPECT_EQ(opened.event, TrainEvent::opened);
  EXPECT_EQ(opened.count, 2);
  advance(train, opened.segments[0], 6);
  advance(train, opened.segments[1], 6);
  expect_strays({{"the SYN-ACK again", syn | ack, 500, 101, 0},
                 {"response out of order", psh | ack, 600, 107, 6},
                 {"response to nothing sent", psh | ack, 501, 200, 6},
                 {"bare ACK", ack, 501, 107, 0}});
  EXPECT_EQ(on_segment(train, psh | ack, 501, 107, 6).event, TrainEvent::answered);
  EXPECT_EQ(train.phase, FlowPhase::closing);
}

TEST(Train, AResetEndsItInAnyPhase) {
  Train train;
  const TrainStep first = begin(train, 100, 1);
  advance(train, first.segments[0], 0);
  EXPECT_EQ(on_segment(train, rst | ack, 0, 101, 0).event, TrainEvent::reset);
  EXPECT_EQ(train.phase, FlowPhase::idle);
  EXPECT_EQ(on_segment(train, rst, 0, 0, 0).event, TrainEvent::stray);
}

}  // namespace
}  // namespace sluice::perf::train_test
