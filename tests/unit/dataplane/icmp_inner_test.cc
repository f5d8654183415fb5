// ICMP's quoted packets: read as far as they go, and given other addresses with their checksums
// still true.
#include "dataplane/net/icmp_inner.h"

#include "dataplane/net/headers.h"
#include "tests/traces/packet_text.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::icmp_inner_test {
namespace {

trace::Bytes packet_of(test::Random& random, bool is_v4, FlowKey& key) {
  trace::PacketText text;
  text.kind = random.one_in(2) ? "tcp" : "udp";
  if (text.kind == "tcp") text.flags = {"ack"};
  const auto address = [&](std::uint64_t host) {
    return is_v4 ? "192.0.2." + std::to_string(host) : "2001:db8::" + std::to_string(host);
  };
  text.source = address(1 + random.below(200));
  text.destination = address(1 + random.below(200));
  text.source_port = std::to_string(random.below(65'536));
  text.destination_port = std::to_string(random.below(65'536));
  text.options["len"] = std::to_string(random.below(200));
  if (is_v4 && random.one_in(3)) text.options["opts"] = std::to_string(4 * random.below(11));
  if (!is_v4 && random.one_in(3)) text.options["ext"] = "0/60";
  if (is_v4 && text.kind == "udp" && random.one_in(4)) text.options["sum"] = "none";
  const auto port = [](const std::string& word) {
    return be16(static_cast<std::uint16_t>(std::stoul(word)));
  };
  key = {*IpAddress::parse(text.source), *IpAddress::parse(text.destination),
         port(text.source_port), port(text.destination_port),
         static_cast<std::uint8_t>(text.kind == "tcp" ? 6 : 17)};
  auto frame = trace::build_frame(text, {}, {}, static_cast<std::uint32_t>(random.word()));
  EXPECT_TRUE(frame);
  return *frame;
}

std::span<std::byte> l3_of(trace::Bytes& frame) {
  return std::span(frame).subspan(sizeof(EthernetHeader));
}

TEST(IcmpInner, AReaddressedPacketIsRightAndComesBackAsItWas) {
  SLUICE_TRACE_SEED();
  test::Random random(31);
  for (std::uint64_t i = 0; i < test::tries(200'000); ++i) {
    const bool is_v4 = random.one_in(2);
    FlowKey key, other;
    trace::Bytes frame = packet_of(random, is_v4, key);
    packet_of(random, is_v4, other);
    other.protocol = key.protocol;
    const trace::Bytes before = frame;
    const InnerPacket inner = parse_inner(l3_of(frame), is_v4);
    ASSERT_EQ(inner.fault, InnerFault::none);
    ASSERT_EQ(inner.key, key);
    readdress(l3_of(frame), inner, other);
    ASSERT_EQ(trace::faults_of(frame), "") << trace::hex_dump(frame);
    const InnerPacket changed = parse_inner(l3_of(frame), is_v4);
    ASSERT_EQ(changed.key, other);
    readdress(l3_of(frame), changed, key);
    trace::fix_checksums(frame);  // 0000 and ffff are the same sum
    trace::Bytes expected = before;
    trace::fix_checksums(expected);
    ASSERT_EQ(frame, expected);
  }
}

// Cut at each byte, in a buffer of exactly that size: AddressSanitizer sees who reads or writes
// beyond.
TEST(IcmpInner, CutAnywhereItIsReadAndChangedWithinWhatIsThere) {
  SLUICE_TRACE_SEED();
  test::Random random(32);
  for (std::uint64_t i = 0; i < test::tries(500); ++i) {
    const bool is_v4 = random.one_in(2);
    FlowKey key;
    trace::Bytes frame = packet_of(random, is_v4, key);
    const auto whole = l3_of(frame);
    for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
      const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
      std::copy_n(whole.begin(), bytes, exact.get());
      const InnerPacket inner = parse_inner({exact.get(), bytes}, is_v4);
      if (inner.fault != InnerFault::none) {
        ASSERT_EQ(inner.fault, InnerFault::truncated);
        continue;
      }
      ASSERT_EQ(inner.key, key);
      readdress({exact.get(), bytes}, inner, key.reversed());
    }
  }
}

// A tunnel's packet, cut at each byte: the outer header tells as soon as it is there, the inner one when it is.
TEST(IcmpInner, APacketInAPacketIsReadAsFarAsItGoes) {
  SLUICE_TRACE_SEED();
  test::Random random(34);
  for (std::uint64_t i = 0; i < test::tries(500); ++i) {
    const bool is_v4 = random.one_in(2), is_gue = random.one_in(2), is_inner_v4 = is_v4 || random.one_in(2);
    FlowKey key;
    trace::Bytes inside = packet_of(random, is_inner_v4, key);
    trace::PacketText text;
    text.kind = is_gue ? "gue" : "ipip";
    text.source = is_v4 ? "10.2.0.1" : "fd00:2::1";
    text.destination = is_v4 ? "10.2.0.11" : "fd00:2::11";
    text.source_port = "50000";
    text.destination_port = "6080";
    text.about = std::make_shared<trace::PacketText>(trace::read_frame(inside));
    auto frame = trace::build_frame(text, {}, {}, 1);
    ASSERT_TRUE(frame);
    const auto whole = l3_of(*frame);
    const std::size_t outer_bytes = (is_v4 ? 20 : 40) + (is_gue ? 12 : 0);
    for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
      const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
      std::copy_n(whole.begin(), bytes, exact.get());
      const auto tunnel = parse_inner_tunnel({exact.get(), bytes}, is_v4);
      const std::size_t needed = is_gue ? outer_bytes - sizeof(GueHeader) : outer_bytes;
      ASSERT_EQ(tunnel.has_value(), bytes >= needed) << bytes;
      if (!tunnel) continue;
      ASSERT_EQ(tunnel->outer.destination_port, be16(is_gue ? 6'080 : 0));
      ASSERT_EQ(tunnel->outer.source, *IpAddress::parse(text.source));
      ASSERT_LE(tunnel->inner_offset, bytes);
      if (bytes >= outer_bytes) {
        ASSERT_EQ(tunnel->inner_offset, outer_bytes);
        ASSERT_EQ(tunnel->is_inner_v4, is_inner_v4);
      }
      const std::span rest(exact.get() + tunnel->inner_offset, bytes - tunnel->inner_offset);
      const InnerPacket inner = parse_inner(rest, tunnel->is_inner_v4);
      ASSERT_TRUE(inner.fault == InnerFault::truncated || (inner.fault == InnerFault::none && inner.key == key));
    }
  }
}

TEST(IcmpInner, AnyBytesAreReadWithinTheirBounds) {
  SLUICE_TRACE_SEED();
  test::Random random(33);
  for (std::uint64_t i = 0; i < test::tries(200'000); ++i) {
    const std::size_t bytes = random.below(128);
    const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
    for (std::size_t b = 0; b < bytes; ++b) exact[b] = static_cast<std::byte>(random.word());
    const bool is_v4 = random.one_in(2);
    if (bytes > 0)
      exact[0] = std::byte{is_v4 ? std::uint8_t(0x45 + random.below(11)) : std::uint8_t{0x60}};
    constexpr std::uint8_t protocols[] = {0, 4, 6, 17, 41, 43, 44, 60};
    const std::size_t place = is_v4 ? 9 : 6;
    if (bytes > place) exact[place] = std::byte{protocols[random.below(8)]};
    if (const auto tunnel = parse_inner_tunnel({exact.get(), bytes}, is_v4)) {
      ASSERT_LE(tunnel->inner_offset, bytes);
      parse_inner({exact.get() + tunnel->inner_offset, bytes - tunnel->inner_offset}, tunnel->is_inner_v4);
    }
    const InnerPacket inner = parse_inner({exact.get(), bytes}, is_v4);
    if (inner.fault == InnerFault::none)
      readdress({exact.get(), bytes}, inner, inner.key.reversed());
  }
}

}  // namespace
}  // namespace sluice::icmp_inner_test
