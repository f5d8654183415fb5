#include "dataplane/net/checksum.h"

#include "dataplane/flow/flow_record.h"
#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::checksum_test {
namespace {

TEST(Checksum, Rfc1071Example) {
  const std::byte bytes[] = {std::byte{0x00}, std::byte{0x01}, std::byte{0xf2}, std::byte{0x03},
                             std::byte{0xf4}, std::byte{0xf5}, std::byte{0xf6}, std::byte{0xf7}};
  EXPECT_EQ(fold_checksum(checksum_sum(bytes)), be16(0xddf2).raw);
}

TEST(Checksum, LengthsAndOffsetsAgreeWithThePlainSum) {
  SLUICE_TRACE_SEED();
  test::Random random(2);
  for (std::size_t bytes = 0; bytes < 200; ++bytes) {
    std::vector<std::byte> data(bytes);
    for (std::byte& byte : data) byte = random.one_in(3) ? std::byte{0xff} : static_cast<std::byte>(random.word());
    std::uint32_t plain = 0;
    for (std::size_t i = 0; i < bytes; ++i) plain += static_cast<std::uint32_t>(data[i]) << (i % 2 == 0 ? 8 : 0);
    while (plain >> 16 != 0) plain = (plain & 0xffff) + (plain >> 16);
    EXPECT_EQ(checksum_of(data), be16(static_cast<std::uint16_t>(~plain)).raw) << bytes;
  }
}

// What a header with these words has as its checksum.
std::uint16_t full(const std::uint16_t* words, std::size_t count) {
  return checksum_of(std::as_bytes(std::span(words, count)));
}

TEST(ChecksumDelta, MillionRewritesEqualTheFullSum) {
  SLUICE_TRACE_SEED();
  test::Random random(3);
  const auto any_word = [&] {
    switch (random.below(8)) {
      case 0: return std::uint16_t{0};
      case 1: return std::uint16_t{0xffff};
      default: return static_cast<std::uint16_t>(random.word());
    }
  };
  for (std::uint64_t i = 0; i < test::tries(1'000'000); ++i) {
    std::uint16_t words[12];
    for (std::uint16_t& word : words) word = any_word();
    words[11] = 0x4006;  // a real packet is never all zero
    const std::uint16_t before = full(words, 12);
    ChecksumDelta delta;
    const std::size_t changes = 1 + random.below(8);
    for (std::size_t c = 0; c < changes; ++c) {
      const std::size_t at = random.below(11);
      const std::uint16_t after = any_word();
      delta.change(words[at], after);
      words[at] = after;
    }
    const std::uint16_t after = full(words, 12);
    ASSERT_EQ(delta.apply_to(before), after);
    ASSERT_EQ(delta.reversed().apply_to(after), before);
    ASSERT_EQ(ChecksumDelta(delta.stored()).apply_to(before), after);
  }
}

TEST(ChecksumDelta, RecordsOfBothFamiliesCarryTheRightDelta) {
  SLUICE_TRACE_SEED();
  test::Random random(4);
  for (std::uint64_t i = 0; i < test::tries(200'000); ++i) {
    const bool is_v4 = random.one_in(2);
    const auto any_address = [&] {
      return is_v4 ? IpAddress::v4(Be32{static_cast<std::uint32_t>(random.word())}) : IpAddress{random.word(), random.word()};
    };
    const auto any_port = [&] { return Be16{static_cast<std::uint16_t>(random.word())}; };
    FlowOpening opening;
    opening.from_client = {any_address(), any_address(), any_port(), any_port(), protocol::tcp};
    opening.to_endpoint = {any_address(), any_address(), any_port(), any_port(), protocol::tcp};
    FlowRecord record;
    write_record(record, opening, 0);
    ASSERT_TRUE(is_sealed(record));
    ASSERT_EQ(arriving_key(record, Direction::to_endpoint), opening.from_client);
    ASSERT_EQ(leaving_key(record, Direction::to_endpoint), opening.to_endpoint);
    ASSERT_EQ(arriving_key(record, Direction::to_client), opening.to_endpoint.reversed());

    const auto sum_of = [](const FlowKey& key) {
      return fold_checksum(pseudo_header_sum(key.source, key.destination, 6, 40) + key.source_port.raw + key.destination_port.raw + 0x1234);
    };
    const auto before = static_cast<std::uint16_t>(~sum_of(opening.from_client));
    const auto after = static_cast<std::uint16_t>(~sum_of(opening.to_endpoint));
    ASSERT_EQ(ChecksumDelta(record.l4_delta).apply_to(before), after);
  }
}

// Wire -> NAT -> turned around -> reverse NAT -> turned around gives the packet that was sent, but for TTL and MACs.
// The bench checks each step byte for byte with checksums computed in full.
TEST(Rewrite, ThereAndBackIsIdentity) {
  SLUICE_TRACE_SEED();
  test::Random random(5);
  for (const bool is_nat : {false, true}) {
    trace::Model model;
    const std::string mode = is_nat ? "nat" : "full_nat";
    for (const trace::Words& words : std::vector<trace::Words>{
             {"flows", "65536"},
             {"cluster", "a", "{", "endpoint", "10.2.0.11:8080", ";", "forwarding", mode, "}"},
             {"cluster", "b", "{", "endpoint", "[fd00:2::11]:8080", ";", "forwarding", mode, "}"},
             {"vip", "10.9.0.1:80/udp", "{", "cluster", "a", "}"},
             {"vip", "[fd00:9::1]:80/udp", "{", "cluster", "b", "}"}}) {
      ASSERT_TRUE(model.change(words));
    }
    auto bed = trace::Bed::create(model);
    ASSERT_TRUE(bed) << bed.error().message;
    for (std::uint32_t i = 0; i < test::tries(20'000); ++i) {
      const bool is_v4 = random.one_in(2);
      trace::PacketText text;
      text.kind = "udp";
      text.source = is_v4 ? "198.51." + std::to_string(random.below(256)) + "." + std::to_string(random.below(256))
                          : "2001:db8::" + std::to_string(1 + random.below(9999));
      text.source_port = std::to_string(1 + random.below(65'535));
      text.destination = is_v4 ? "10.9.0.1" : "fd00:9::1";
      text.destination_port = "80";
      text.options["len"] = std::to_string(random.below(100));
      if (is_v4 && random.one_in(8)) text.options["sum"] = "none";
      const auto sent = trace::build_frame(text, (*bed)->mac_of(*IpAddress::parse(is_v4 ? "10.1.0.254" : "fd00:1::fe")), (*bed)->port_mac(0), i);
      ASSERT_TRUE(sent);
      ASSERT_EQ((*bed)->receive(0, {*sent, 0}).back(), Verdict::forward);
      ASSERT_EQ((*bed)->outputs.size(), 1u);
      const auto turned = [is_v4](trace::Bytes frame) {
        const std::size_t address_bytes = is_v4 ? 4 : 16, addresses = is_v4 ? 26 : 22, ports = is_v4 ? 34 : 54;
        std::swap_ranges(frame.begin(), frame.begin() + 6, frame.begin() + 6);
        const auto at = frame.begin() + static_cast<long>(addresses);
        std::swap_ranges(at, at + static_cast<long>(address_bytes), at + static_cast<long>(address_bytes));
        const auto port = frame.begin() + static_cast<long>(ports);
        std::swap_ranges(port, port + 2, port + 2);
        return frame;
      };
      const trace::Output there = (*bed)->outputs.front();
      (*bed)->outputs.clear();
      ASSERT_EQ((*bed)->receive(0, {turned(there.frame), there.port}).back(), Verdict::forward);
      trace::Bytes back = turned((*bed)->outputs.front().frame);
      (*bed)->outputs.clear();
      back[is_v4 ? 22 : 21] = std::byte{64};
      if (is_v4) trace::fix_checksums(back);
      ASSERT_EQ(back, *sent);
      const auto faults = (*bed)->take_faults();
      ASSERT_TRUE(faults.empty()) << faults.front();
    }
  }
}

}  // namespace
}  // namespace sluice::checksum_test
