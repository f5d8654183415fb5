#include "perf/pktgen/reflect.h"

#include <gtest/gtest.h>

#include "perf/common/frame.h"

namespace sluice::perf::reflect_test {
namespace {

constexpr MacAddress mac_a{{2, 0, 0, 0, 0, 0xa}}, mac_b{{2, 0, 0, 0, 0, 0xb}};

struct Made {
  std::byte bytes[256]{};
  std::size_t count = 0;
  ParsedFrame parsed;

  std::span<std::byte> frame() { return {bytes, count}; }
  void parse() {
    parsed = {};
    parse_frame(frame(), parsed);
  }
  bool is_right() {
    parse();
    return parsed.fault == ParseFault::none &&
           has_right_checksums(frame(), parsed.key, parsed.l3_offset, parsed.l4_offset,
                               parsed.l4_bytes);
  }
};

Made make(bool is_v6, std::uint8_t protocol_number, std::uint8_t flags, std::size_t payload_bytes) {
  const FlowKey key{*IpAddress::parse(is_v6 ? "2001:db8::1" : "198.18.0.1"),
                    *IpAddress::parse(is_v6 ? "2001:db8::2" : "198.18.0.2"), be16(4'000), be16(80),
                    protocol_number};
  Made made;
  const std::size_t offset = payload_offset_of(key);
  for (std::size_t i = 0; i < payload_bytes; ++i)
    made.bytes[offset + i] = static_cast<std::byte>(i * 7 + 1);
  FrameFields fields;
  fields.to = mac_b;
  fields.from = mac_a;
  fields.tcp_flags = flags;
  fields.sequence = 0xffff0000;
  fields.acknowledgment = 0x1234'5678;
  fields.payload_bytes = payload_bytes;
  fields.payload_sum = checksum_sum({made.bytes + offset, payload_bytes});
  made.count = write_headers(made.bytes, key, fields);
  made.parse();
  return made;
}

TEST(Reflect, AnswersGoBackWithRightChecksums) {
  using namespace tcp_flag;
  for (const bool is_v6 : {false, true}) {
    for (const std::uint8_t protocol_number : {protocol::tcp, protocol::udp}) {
      for (const std::uint8_t flags :
           {std::uint8_t{syn}, std::uint8_t{psh | ack}, std::uint8_t{fin | ack}}) {
        for (const std::size_t payload : {6u, 7u, 100u}) {
          Made made = make(is_v6, protocol_number, flags, payload);
          ASSERT_TRUE(made.is_right());
          const FlowKey key = made.parsed.key;
          ASSERT_TRUE(reflect(made.frame(), made.parsed));
          EXPECT_TRUE(made.is_right()) << is_v6 << int{protocol_number} << int{flags} << payload;
          EXPECT_EQ(made.parsed.key, key.reversed());
          const auto& ethernet = *reinterpret_cast<const EthernetHeader*>(made.bytes);
          EXPECT_EQ(ethernet.destination, mac_a);
          EXPECT_EQ(ethernet.source, mac_b);
        }
      }
    }
  }
}

TEST(Reflect, WhatWasBrokenStaysBroken) {
  Made made = make(false, protocol::tcp, tcp_flag::psh | tcp_flag::ack, 20);
  made.bytes[70] ^= std::byte{1};
  ASSERT_TRUE(reflect(made.frame(), made.parsed));
  EXPECT_FALSE(made.is_right());
}

TEST(Reflect, BareAcksAndResetsHaveNoAnswer) {
  for (const std::uint8_t flags : {std::uint8_t{tcp_flag::ack}, std::uint8_t{tcp_flag::rst},
                                   std::uint8_t{tcp_flag::syn | tcp_flag::ack}}) {
    Made made = make(false, protocol::tcp, flags, 0);
    const Made before = made;
    EXPECT_FALSE(reflect(made.frame(), made.parsed)) << int{flags};
    EXPECT_EQ(std::memcmp(made.bytes, before.bytes, sizeof made.bytes), 0);
  }
}

TEST(Neighbors, QuestionsOfBothFamiliesAreAnsweredAndUnderstood) {
  for (const char* text : {"198.18.0.2", "2001:db8::2"}) {
    const IpAddress wanted = *IpAddress::parse(text);
    const IpAddress own = *IpAddress::parse(wanted.is_v4() ? "198.18.0.1" : "2001:db8::1");
    Made made;
    made.count = write_neighbor_question(made.bytes, mac_a, own, wanted);
    made.parse();
    ASSERT_EQ(made.parsed.fault, ParseFault::none) << text;
    NeighborAnswer answer;
    EXPECT_FALSE(read_neighbor_answer(made.frame(), made.parsed, answer))
        << "a question is no answer";
    EXPECT_FALSE(answer_neighbor(made.frame(), made.parsed, mac_b, std::span(&wanted, 1)))
        << "spared";
    ASSERT_TRUE(answer_neighbor(made.frame(), made.parsed, mac_b, {})) << text;
    made.parse();
    ASSERT_EQ(made.parsed.fault, ParseFault::none) << text;
    if (!wanted.is_v4()) {
      EXPECT_EQ(checksum_of(made.frame().subspan(made.parsed.l4_offset, made.parsed.l4_bytes),
                            pseudo_header_sum(made.parsed.key.source, made.parsed.key.destination,
                                              protocol::icmpv6, made.parsed.l4_bytes)),
                0);
    }
    ASSERT_TRUE(read_neighbor_answer(made.frame(), made.parsed, answer)) << text;
    EXPECT_EQ(answer.address, wanted);
    EXPECT_EQ(answer.mac, mac_b);
  }
}

TEST(Neighbors, AnnouncementsAreNoQuestions) {
  const IpAddress own = *IpAddress::parse("198.18.0.1");
  Made made;
  made.count = write_neighbor_question(made.bytes, mac_a, own, own);
  made.parse();
  EXPECT_FALSE(answer_neighbor(made.frame(), made.parsed, mac_b, {}));
}

}  // namespace
}  // namespace sluice::perf::reflect_test
