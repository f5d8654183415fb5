#include "dataplane/net/parse.h"

#include "tests/traces/packet_text.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::parse_test {
namespace {

using trace::Bytes;
using trace::PacketText;

constexpr MacAddress mac{{2, 0, 0, 0, 0, 1}};

Bytes frame_of(const std::string& line) {
  trace::Words words;
  std::string word;
  for (const char c : line + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  const auto text = PacketText::parse(words);
  EXPECT_TRUE(text) << line;
  auto frame = trace::build_frame(*text, mac, mac, 1);
  EXPECT_TRUE(frame) << line;
  return *frame;
}

// In a buffer of exactly its size, so that reading one byte too far is seen.
ParsedFrame parse_exactly(std::span<const std::byte> bytes) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  ParsedFrame parsed;
  parse_frame({exact.get(), bytes.size()}, parsed);
  return parsed;
}

struct Case {
  const char* name;
  const char* line;
  ParseFault fault;
  FrameKind kind;
  unsigned l4_offset, l4_bytes;
};

const Case cases[] = {
    {"tcp4", "192.0.2.1:5 > 192.0.2.2:80 tcp syn len=7", ParseFault::none, FrameKind::tcp, 34, 27},
    {"tcp4_options", "192.0.2.1:5 > 192.0.2.2:80 tcp syn opts=40 tcpopts=40", ParseFault::none, FrameKind::tcp, 74, 60},
    {"tcp6", "[2001:db8::1]:5 > [2001:db8::2]:80 tcp syn", ParseFault::none, FrameKind::tcp, 54, 20},
    {"tcp6_extensions", "[2001:db8::1]:5 > [2001:db8::2]:80 tcp syn ext=0/43/60", ParseFault::none, FrameKind::tcp, 78, 20},
    {"tcp6_eight_extensions", "[2001:db8::1]:5 > [2001:db8::2]:80 tcp syn ext=0/60/60/60/60/60/60/60", ParseFault::none, FrameKind::tcp, 118, 20},
    {"tcp6_nine_extensions", "[2001:db8::1]:5 > [2001:db8::2]:80 tcp syn ext=0/60/60/60/60/60/60/60/60", ParseFault::ipv6_extension_invalid, FrameKind::other, 0, 0},
    {"udp4", "192.0.2.1:5 > 192.0.2.2:53 udp len=0", ParseFault::none, FrameKind::udp, 34, 8},
    {"udp4_padded", "192.0.2.1:5 > 192.0.2.2:53 udp len=1 pad=17", ParseFault::none, FrameKind::udp, 34, 9},
    {"udp6", "[2001:db8::1]:5 > [2001:db8::2]:53 udp len=9", ParseFault::none, FrameKind::udp, 54, 17},
    {"icmp4", "192.0.2.1 > 192.0.2.2 icmp echo", ParseFault::none, FrameKind::icmp, 34, 16},
    {"icmp6", "2001:db8::1 > 2001:db8::2 icmp echo", ParseFault::none, FrameKind::icmpv6, 54, 16},
    {"icmp_in_the_wrong_family", "2001:db8::1 > 2001:db8::2 proto 1 len=8", ParseFault::none, FrameKind::ip_other, 54, 8},
    {"icmp_cut", "192.0.2.1 > 192.0.2.2 proto 1 len=7", ParseFault::l4_header_invalid, FrameKind::other, 0, 0},
    {"tcp_cut", "192.0.2.1 > 192.0.2.2 proto 6 len=19", ParseFault::l4_header_invalid, FrameKind::other, 0, 0},
    {"udp_cut", "192.0.2.1 > 192.0.2.2 proto 17 len=7", ParseFault::l4_header_invalid, FrameKind::other, 0, 0},
    {"gre", "192.0.2.1 > 192.0.2.2 proto 47 len=8", ParseFault::none, FrameKind::ip_other, 34, 8},
    {"nothing_in_ipv4", "192.0.2.1 > 192.0.2.2 proto 99", ParseFault::none, FrameKind::ip_other, 34, 0},
    {"esp_is_no_extension", "2001:db8::1 > 2001:db8::2 proto 50 len=8", ParseFault::none, FrameKind::ip_other, 54, 8},
    {"arp", "arp request 192.0.2.1 tell 192.0.2.2", ParseFault::none, FrameKind::arp, 0, 0},
    {"fragment4", "192.0.2.1:5 > 192.0.2.2:80 tcp syn frag=0x2000", ParseFault::none, FrameKind::fragment, 34, 20},
    {"fragment4_last", "192.0.2.1:5 > 192.0.2.2:80 tcp syn frag=0x0001", ParseFault::none, FrameKind::fragment, 34, 20},
    {"fragment6", "[2001:db8::1]:5 > [2001:db8::2]:80 tcp syn ext=60/44", ParseFault::none, FrameKind::fragment, 70, 20},
    {"reserved_flag_is_no_fragment", "192.0.2.1:5 > 192.0.2.2:80 tcp syn frag=0x8000", ParseFault::none, FrameKind::tcp, 34, 20},
    {"vlan", "192.0.2.1:5 > 192.0.2.2:80 tcp syn vlan=5", ParseFault::none, FrameKind::tcp, 38, 20},
    {"vlan6", "[2001:db8::1]:5 > [2001:db8::2]:53 udp len=9 vlan=4094", ParseFault::none, FrameKind::udp, 58, 17},
    {"vlan_cut", "192.0.2.1:5 > 192.0.2.2:80 tcp syn vlan=5 cut=17", ParseFault::frame_truncated, FrameKind::other, 0, 0},
    {"vlan_and_half_a_header", "192.0.2.1:5 > 192.0.2.2:80 tcp syn vlan=5 cut=37", ParseFault::frame_truncated, FrameKind::other, 0, 0},
    {"qinq", "192.0.2.1:5 > 192.0.2.2:80 tcp syn ether=0x88a8", ParseFault::vlan_stacked, FrameKind::other, 0, 0},
    {"two_tags", "192.0.2.1:5 > 192.0.2.2:80 tcp syn vlan=5 ether=0x8100", ParseFault::vlan_stacked, FrameKind::other, 0, 0},
    {"lldp", "192.0.2.1:5 > 192.0.2.2:80 tcp syn ether=0x88cc", ParseFault::ether_type_unknown, FrameKind::other, 0, 0},
};

class ParseFrame : public testing::TestWithParam<Case> {};

TEST_P(ParseFrame, SaysWhatItIs) {
  const Case& c = GetParam();
  const ParsedFrame parsed = parse_exactly(frame_of(c.line));
  EXPECT_EQ(parsed.fault, c.fault);
  if (c.fault != ParseFault::none) return;
  EXPECT_EQ(parsed.kind, c.kind);
  if (c.l4_offset == 0) return;
  EXPECT_EQ(parsed.l4_offset, c.l4_offset);
  EXPECT_EQ(parsed.l4_bytes, c.l4_bytes);
}

TEST_P(ParseFrame, CutAtAnyByteIsNeverTakenForWhole) {
  const Bytes whole = frame_of(GetParam().line);
  const ParsedFrame uncut = parse_exactly(whole);
  const std::size_t end = uncut.fault != ParseFault::none ? whole.size()
                          : uncut.kind == FrameKind::arp  ? 42u
                                                          : uncut.l4_offset + std::size_t{uncut.l4_bytes};
  for (std::size_t bytes = 0; bytes < end; ++bytes) {
    EXPECT_NE(parse_exactly(std::span(whole).first(bytes)).fault, ParseFault::none) << "cut to " << bytes;
  }
  for (std::size_t bytes = end; bytes <= whole.size(); ++bytes) {
    EXPECT_EQ(parse_exactly(std::span(whole).first(bytes)).fault, uncut.fault) << "cut to " << bytes;
  }
}

TEST_P(ParseFrame, AnyByteChangedIsStillReadWithinBounds) {
  const Bytes whole = frame_of(GetParam().line);
  for (std::size_t at = 0; at < std::min<std::size_t>(whole.size(), 120); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes changed = whole;
      changed[at] = static_cast<std::byte>(value);
      trace::fix_checksums(changed);  // get past the header checksum where the lengths allow it
      const ParsedFrame parsed = parse_exactly(changed);
      if (parsed.fault != ParseFault::none || parsed.kind == FrameKind::arp) continue;
      ASSERT_LE(parsed.l4_offset + std::size_t{parsed.l4_bytes}, changed.size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Frames, ParseFrame, testing::ValuesIn(cases),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(ParseTcpFlags, AllCombinations) {
  using namespace tcp_flag;
  for (unsigned flags = 0; flags < 256; ++flags) {
    Bytes frame = frame_of("192.0.2.1:5 > 192.0.2.2:80 tcp syn");
    frame[47] = static_cast<std::byte>(flags);
    const bool has_syn = (flags & syn) != 0, has_fin = (flags & fin) != 0, has_rst = (flags & rst) != 0, has_ack = (flags & ack) != 0;
    const bool is_possible = !(has_syn && has_fin) && !(has_syn && has_rst) && !(has_fin && has_rst) &&
                             !(has_fin && !has_ack) && (has_syn || has_rst || has_ack);
    EXPECT_EQ(parse_exactly(frame).fault == ParseFault::none, is_possible) << "flags " << flags;
  }
}

TEST(ParseIpv4, EveryHeaderLength) {
  for (unsigned words = 0; words < 16; ++words) {
    const auto line = "192.0.2.1:5 > 192.0.2.2:80 tcp syn len=60 ihl=" + std::to_string(words);
    Bytes frame = frame_of(line);
    trace::fix_checksums(frame);
    const ParseFault fault = parse_exactly(frame).fault;
    if (words < 5) {
      EXPECT_EQ(fault, ParseFault::ip_header_invalid) << words;
    } else {
      EXPECT_NE(fault, ParseFault::ip_header_invalid) << words;
    }
  }
}

TEST(ParseFrameProperty, RandomBytesStayInBounds) {
  SLUICE_TRACE_SEED();
  test::Random random(1);
  constexpr std::uint16_t types[] = {0x0800, 0x86dd, 0x0806, 0x8100};
  for (std::uint64_t i = 0; i < test::tries(300'000); ++i) {
    Bytes frame(random.below(160));
    for (std::byte& byte : frame) byte = static_cast<std::byte>(random.word());
    if (frame.size() >= 15) {
      const std::uint16_t type = types[random.below(4)];
      frame[12] = static_cast<std::byte>(type >> 8);
      frame[13] = static_cast<std::byte>(type & 0xff);
      frame[14] = static_cast<std::byte>(type == 0x0800 ? 0x40 | (frame[14] == std::byte{0} ? 5 : random.below(16)) : 0x60);
      trace::fix_checksums(frame);
    }
    const ParsedFrame parsed = parse_exactly(frame);
    if (parsed.fault == ParseFault::none && parsed.kind != FrameKind::arp) {
      ASSERT_LE(parsed.l4_offset + std::size_t{parsed.l4_bytes}, frame.size());
    }
  }
}

}  // namespace
}  // namespace sluice::parse_test
