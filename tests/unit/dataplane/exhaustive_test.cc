// L4-04: not at random but all of them: header lengths, options, extension chains, truncations, layer by layer. What must
// become of each frame is said here in a few lines of its own that share nothing with the product's parser.
//
// Each frame ends where its page does, and behind that page there is none: whoever reads one byte too far is stopped by the
// MMU, whatever the build.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "dataplane/pipeline/process_burst.h"
#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::exhaustive_test {
namespace {

using trace::Bytes;

constexpr std::size_t truncations_end = 201;

class EndOfMemory {
 public:
  EndOfMemory() : base_(static_cast<std::byte*>(mmap(nullptr, pages_bytes + page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    mprotect(base_ + pages_bytes, page_bytes(), PROT_NONE);
  }
  ~EndOfMemory() { munmap(base_, pages_bytes + page_bytes()); }
  EndOfMemory(const EndOfMemory&) = delete;
  EndOfMemory& operator=(const EndOfMemory&) = delete;
  std::byte* place(std::span<const std::byte> frame) {
    std::byte* first = base_ + pages_bytes - frame.size();
    std::copy(frame.begin(), frame.end(), first);
    return first;
  }

 private:
  static constexpr std::size_t pages_bytes = 16'384;
  static std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  std::byte* base_;
};

// A world with VIPs of each protocol and family, and no more flows than it can forget.
class Bench {
 public:
  Bench() {
    trace::Model model;
    for (const char* line :
         {"flows 4096", "icmp errors 1000000000 echoes 1000000000", "cluster web { endpoint 10.2.0.11:8080; }", "cluster web6 { endpoint [fd00:2::11]:8080; }", "cluster dns { endpoint 10.2.0.13:53; }",
          "cluster dns6 { endpoint [fd00:2::13]:53; }", "cluster gue { endpoint [fd00:2::17]:81; forwarding dsr_gue; }", "cluster tls { endpoint 10.2.0.18:443; forwarding splice; }",
          "vip 10.9.0.1:80/tcp { cluster web; mss 1400; }", "vip [fd00:9::1]:80/tcp { cluster web6; mss 1400; }", "vip 10.9.0.1:53/udp { cluster dns; }",
          "vip [fd00:9::1]:53/udp { cluster dns6; }", "vip 10.9.0.1:81/tcp { cluster gue; }", "vip 10.9.0.1:443/tcp { cluster tls; }"}) {
      const auto changed = model.change(trace::words_of(line));
      EXPECT_TRUE(changed) << line << ": " << changed.error().message;
    }
    auto bed = trace::Bed::create(model);
    EXPECT_TRUE(bed) << bed.error().message;
    bed_ = std::move(*bed);
    // So that packets walk to the end: next hops are known.
    for (const char* hop : {"10.2.0.11", "fd00:2::11", "10.2.0.13", "fd00:2::13", "fd00:2::17", "10.2.0.18"}) learn(hop, 1);
    for (const char* hop : {"10.1.0.254", "fd00:1::fe"}) learn(hop, 0);
    link_and_ipv4 = frame("203.0.113.1:4000 > 10.9.0.1:80 tcp syn");
    link_and_ipv4.resize(34);
    link_and_ipv6 = frame("[2001:db8::1]:4000 > [fd00:9::1]:80 tcp syn");
    link_and_ipv6.resize(54);
  }
  ~Bench() {
    for (const auto& [verdict, count] : verdicts) {
      EXPECT_FALSE(name_of(verdict).empty());
      testing::Test::RecordProperty(std::string(name_of(verdict)), std::to_string(count));
    }
    testing::Test::RecordProperty("frames", std::to_string(frames));
  }

  Bytes frame(const std::string& text) {
    const auto parsed = trace::PacketText::parse(trace::words_of(text));
    EXPECT_TRUE(parsed) << text;
    auto built = trace::build_frame(*parsed, MacAddress{{2, 4, 10, 1, 0, 254}}, bed_->port_mac(0), 3);
    EXPECT_TRUE(built) << text;
    return std::move(*built);
  }

  Verdict verdict_of(std::span<const std::byte> frame) {
    World& world = bed_->world(0);
    Burst burst;
    Packet& packet = burst.add();
    packet.data = memory_.place(frame);
    packet.bytes = static_cast<std::uint16_t>(frame.size());
    packet.headroom = 128;
    packet.handle = this;
    process_burst(world, burst);
    EXPECT_EQ(burst.count, 1u);
    const Verdict verdict = packet.verdict;
    // What is held would be read again where other frames lie by then.
    EXPECT_NE(verdict, Verdict::undecided);
    count_verdicts(world, burst);
    world.generated.clear();
    world.released.clear();
    forget_what_waits(world);
    if (world.flows.count() * 2 > world.flows.capacity() || world.pending.count() > 64) forget_flows(world);
    ++verdicts[verdict];
    ++frames;
    return verdict;
  }

  Bytes link_and_ipv4, link_and_ipv6;  // all before the transport header of a SYN
  std::map<Verdict, std::uint64_t> verdicts;
  std::uint64_t frames = 0;

 private:
  void learn(const char* text, std::uint16_t port) {
    World& world = bed_->world(0);
    const IpAddress address = *IpAddress::parse(text);
    ASSERT_NE(world.neighbors.find_or_add(address, port, world.now), no_neighbor);
    world.neighbors.learn(address, port, bed_->mac_of(address), world.now);
  }
  static void forget_what_waits(World& world) {
    HeldPacket held;
    for (std::uint16_t i = 0; i < world.neighbors.count_used(); ++i) {
      while (world.neighbors.take_held(i, held)) {
      }
    }
    if (world.fragments.datagram_count() == 0) return;
    world.fragments.expire({world.now.ms + 3'600'000}, 1);
    HeldFragment lost;
    while (world.fragments.take_lost(lost) || world.fragments.take_ready(lost)) {
    }
  }
  // Time passes until all are over.
  static void forget_flows(World& world) {
    for (int i = 0; i < 2'000 && (world.flows.count() > 0 || world.pending.count() > 0); ++i) {
      world.now.ms += 2'000;
      for (int calls = 0; calls < 16; ++calls) maintain(world);
      world.generated.clear();
      world.released.clear();
    }
    ASSERT_EQ(world.flows.count(), 0u);
  }

  EndOfMemory memory_;
  std::unique_ptr<trace::Bed> bed_;
};

void put(Bytes& frame, std::size_t at, std::size_t width, std::size_t value) {
  for (std::size_t i = 0; i < width; ++i) frame[at + i] = static_cast<std::byte>(value >> 8 * (width - 1 - i));
}

std::size_t get(const Bytes& frame, std::size_t at, std::size_t width) {
  std::size_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value = value << 8 | static_cast<std::size_t>(frame[at + i]);
  return value;
}

// The IPv4 header checksum, over so many bytes as there are.
void sum_ipv4(Bytes& frame, std::size_t l3, std::size_t header) {
  if (l3 + header > frame.size()) return;
  put(frame, l3 + 10, 2, 0);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < header; i += 2) sum += get(frame, l3 + i, 2);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  put(frame, l3 + 10, 2, ~sum & 0xffff);
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// Ethernet and as much of IP as the rest needs; `payload` begins with the transport header.
Bytes ipv4(Bench& bench, const Bytes& options, std::uint8_t protocol, const Bytes& payload) {
  Bytes frame = joined({bench.link_and_ipv4, options, payload});
  put(frame, 14, 1, 0x40 | (5 + options.size() / 4));
  put(frame, 16, 2, frame.size() - 14);
  put(frame, 23, 1, protocol);
  sum_ipv4(frame, 14, 20 + options.size());
  return frame;
}

Bytes ipv6(Bench& bench, const Bytes& extensions, std::uint8_t next, const Bytes& payload) {
  Bytes frame = joined({bench.link_and_ipv6, extensions, payload});
  put(frame, 18, 2, frame.size() - 54);
  put(frame, 20, 1, next);
  return frame;
}

Bytes transport_of(Bench& bench, const std::string& kind, bool is_v4) {
  const std::string client = is_v4 ? "203.0.113.1" : "2001:db8::1", vip = is_v4 ? "10.9.0.1" : "fd00:9::1";
  const auto at = [&](const std::string& address, const char* port) { return (is_v4 ? address : "[" + address + "]") + ":" + port; };
  Bytes frame = kind == "tcp"   ? bench.frame(at(client, "4000") + " > " + at(vip, "80") + " tcp syn mss=1460 sackok=1 tsval=1 tsecr=0 ws=7 len=40")
                : kind == "udp" ? bench.frame(at(client, "4000") + " > " + at(vip, "53") + " udp len=60")
                                : bench.frame(client + " > " + vip + " icmp echo id=7 len=60");
  frame.erase(frame.begin(), frame.begin() + (is_v4 ? 34 : 54));
  return frame;
}

// Cut at each byte, once with the IP length as it was and once with one that agrees with what is left.
template <class Check>
void cut_everywhere(const Bytes& frame, bool is_v4, std::size_t header, Check check) {
  for (std::size_t end = 1; end < std::min(truncations_end, frame.size() + 1); ++end) {
    Bytes cut(frame.begin(), frame.begin() + static_cast<long>(end));
    check(cut, false);
    if (end < (is_v4 ? 34u : 54u)) continue;
    put(cut, is_v4 ? 16 : 18, 2, is_v4 ? end - 14 : end - 54);
    if (is_v4 && end >= 14 + header) sum_ipv4(cut, 14, header);
    check(cut, true);
  }
}

TEST(Exhaustive, Ethernet) {
  Bench bench;
  // Every EtherType, with and without something behind it, and behind a tag.
  const Bytes sound = bench.frame("203.0.113.1:4000 > 10.9.0.1:80 tcp syn");
  for (std::size_t type = 0; type < 0x10000; ++type) {
    Bytes frame = sound;
    put(frame, 12, 2, type);
    const Verdict verdict = bench.verdict_of(frame);
    if (type == 0x0800) {
      ASSERT_EQ(verdict, Verdict::forward);
    } else if (type == 0x86dd) {
      ASSERT_EQ(verdict, Verdict::drop_ip_header_invalid);
    } else if (type == 0x0806) {
      ASSERT_EQ(verdict, Verdict::drop_arp_malformed);
    } else if (type == 0x88a8) {
      ASSERT_EQ(verdict, Verdict::drop_vlan_stacked);
    } else if (type != 0x8100) {
      ASSERT_EQ(verdict, Verdict::drop_ether_type_unknown) << type;
    }
    frame.insert(frame.begin() + 12, {std::byte{0x81}, std::byte{0}, std::byte{0}, std::byte{0}});
    const Verdict tagged = bench.verdict_of(frame);
    if (type == 0x0800) {
      ASSERT_EQ(tagged, Verdict::forward);  // VLAN 0: a priority, no network (IEEE 802.1Q 9.6)
    } else {
      ASSERT_TRUE(is_drop(tagged)) << type;
    }
    frame.resize(13 + type % 5);
    ASSERT_EQ(bench.verdict_of(frame), Verdict::drop_frame_truncated);
  }
  for (std::size_t bytes = 1; bytes < 14; ++bytes) ASSERT_EQ(bench.verdict_of(std::span(sound).first(bytes)), Verdict::drop_frame_truncated);
  // Every tag.
  for (std::size_t tag = 0; tag < 0x10000; ++tag) {
    Bytes frame = sound;
    const std::byte bytes[] = {std::byte{0x81}, std::byte{0}, static_cast<std::byte>(tag >> 8), static_cast<std::byte>(tag)};
    frame.insert(frame.begin() + 12, std::begin(bytes), std::end(bytes));
    const Verdict verdict = bench.verdict_of(frame);
    if ((tag & 0xfff) == 0) {
      ASSERT_EQ(verdict, Verdict::forward) << tag;
    } else {
      ASSERT_EQ(verdict, Verdict::drop_vlan_unknown) << tag;
    }
  }
}

TEST(Exhaustive, Ipv4HeaderAndItsLengths) {
  Bench bench;
  for (const std::string kind : {"tcp", "udp", "icmp"}) {
    const std::uint8_t protocol = kind == "tcp" ? 6 : kind == "udp" ? 17 : 1;
    const Bytes payload = transport_of(bench, kind, true);
    for (std::size_t options = 0; options <= 40; options += 4) {
      const Bytes whole = ipv4(bench, Bytes(options, std::byte{1}), protocol, payload);
      ASSERT_FALSE(is_drop(bench.verdict_of(whole))) << kind << " with " << options << " bytes of options";
      // What it says of its own length, whatever it has.
      for (std::size_t words = 0; words < 16; ++words) {
        for (const std::size_t version : {4u, 6u, 0u, 15u}) {
          for (std::size_t total = 0; total < whole.size() - 14 + 3; ++total) {
            Bytes frame = whole;
            put(frame, 14, 1, version << 4 | words);
            put(frame, 16, 2, total);
            sum_ipv4(frame, 14, std::max<std::size_t>(words, 5) * 4);
            const Verdict verdict = bench.verdict_of(frame);
            if (version != 4 || words < 5 || total < words * 4) {
              ASSERT_EQ(verdict, Verdict::drop_ip_header_invalid) << version << " " << words << " " << total;
            } else if (total > whole.size() - 14) {
              ASSERT_EQ(verdict, Verdict::drop_frame_truncated) << words << " " << total;
            } else if (words * 4 == 20 + options && total == whole.size() - 14) {
              ASSERT_FALSE(is_drop(verdict)) << name_of(verdict);
            }
          }
        }
        if (test::tries(10) == 1 && words % 3 != 0) ++words;  // sanitized: some of them
      }
      cut_everywhere(whole, true, 20 + options, [&](const Bytes& cut, bool is_said) {
        const Verdict verdict = bench.verdict_of(cut);
        if (cut.size() < 34 || (!is_said && cut.size() < whole.size())) {
          ASSERT_EQ(verdict, Verdict::drop_frame_truncated) << cut.size();
        } else if (cut.size() < 34 + options) {
          ASSERT_EQ(verdict, Verdict::drop_ip_header_invalid) << cut.size();
        } else if (cut.size() < 34 + options + (kind == "tcp" ? 40u : payload.size()) && kind != "icmp") {
          ASSERT_EQ(verdict, Verdict::drop_l4_header_invalid) << kind << " " << cut.size();
        } else if (kind == "icmp" && cut.size() < 34 + options + 8) {
          ASSERT_EQ(verdict, Verdict::drop_l4_header_invalid) << cut.size();
        }
      });
    }
  }
  // Every protocol, at every length that a header of it may have.
  for (std::size_t protocol = 0; protocol < 256; ++protocol) {
    for (std::size_t bytes = 0; bytes <= 64; ++bytes) {
      const Bytes frame = ipv4(bench, {}, static_cast<std::uint8_t>(protocol), Bytes(bytes, std::byte{0x50}));
      const Verdict verdict = bench.verdict_of(frame);
      ASSERT_TRUE(is_drop(verdict) || is_reject(verdict)) << protocol << " " << bytes << " " << name_of(verdict);
    }
  }
  // Every place of a fragment, with the bits beside it.
  const Bytes whole_datagram = ipv4(bench, {}, 17, transport_of(bench, "udp", true));
  for (std::size_t fragment = 0; fragment < 0x10000; fragment += test::tries(10) == 1 ? 7 : 1) {
    Bytes frame = whole_datagram;
    put(frame, 20, 2, fragment);
    sum_ipv4(frame, 14, 20);
    const Verdict verdict = bench.verdict_of(frame);
    if ((fragment & 0x3fff) == 0) {
      ASSERT_EQ(verdict, Verdict::forward) << fragment;
    }
  }
}

TEST(Exhaustive, Ipv6ExtensionChains) {
  Bench bench;
  constexpr std::uint8_t hop_by_hop = 0, routing = 43, fragment = 44, destination = 60;
  constexpr std::uint8_t kinds[] = {hop_by_hop, routing, fragment, destination};
  const Bytes payload = transport_of(bench, "tcp", false);
  // Every chain of up to four headers of eight bytes, and of one kind up to ten; each with a second byte that is no length,
  // a long one and one beyond the end.
  std::vector<std::vector<std::uint8_t>> chains;
  for (std::size_t depth = 1; depth <= 4; ++depth) {
    for (std::size_t number = 0; number < 1u << 2 * depth; ++number) {
      std::vector<std::uint8_t> chain;
      for (std::size_t i = 0; i < depth; ++i) chain.push_back(kinds[number >> 2 * i & 3]);
      chains.push_back(std::move(chain));
    }
  }
  for (const std::uint8_t kind : kinds) {
    for (std::size_t depth = 5; depth <= 10; ++depth) chains.emplace_back(depth, kind);
  }
  const auto check = [&](const std::vector<std::uint8_t>& chain, std::size_t long_one, std::size_t words, std::size_t cuts) {
    Bytes extensions;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      Bytes header(8, std::byte{0});
      header[0] = static_cast<std::byte>(i + 1 < chain.size() ? chain[i + 1] : 6);
      if (chain[i] != routing) header[2] = std::byte{0};
      if (i == long_one && chain[i] != fragment) {
        header.resize(8 + 8 * std::min<std::size_t>(words, 4));
        header[1] = static_cast<std::byte>(words);
      }
      extensions.insert(extensions.end(), header.begin(), header.end());
    }
    const Bytes whole = ipv6(bench, extensions, chain[0], payload);
    const bool is_too_long = long_one < chain.size() && chain[long_one] != fragment && words > 4;
    const Verdict verdict = bench.verdict_of(whole);
    if (chain.size() > 8) {
      ASSERT_EQ(verdict, Verdict::drop_ipv6_extension_invalid) << chain.size();
    } else if (!is_too_long) {
      ASSERT_EQ(verdict, Verdict::forward) << name_of(verdict) << ", " << chain.size() << " headers from " << int{chain[0]};
    }
    if (cuts == 0) return;
    cut_everywhere(whole, false, 40, [&](const Bytes& cut, bool is_said) {
      const Verdict of_cut = bench.verdict_of(cut);
      if (cut.size() < 54 || (!is_said && cut.size() < whole.size())) {
        ASSERT_EQ(of_cut, Verdict::drop_frame_truncated) << cut.size();
      } else if (cut.size() < 54 + extensions.size() || chain.size() > 8) {
        ASSERT_EQ(of_cut, Verdict::drop_ipv6_extension_invalid) << cut.size();
      } else if (!is_too_long && cut.size() < 54 + extensions.size() + 40) {
        ASSERT_EQ(of_cut, Verdict::drop_l4_header_invalid) << cut.size();
      }
    });
  };
  for (const auto& chain : chains) {
    check(chain, chain.size(), 0, 1);
    for (std::size_t which = 0; which < chain.size(); ++which) {
      for (const std::size_t words : {1u, 4u, 255u}) check(chain, which, words, which == chain.size() - 1 ? 1 : 0);
    }
  }
  // A routing header that is not at its end, every segment count; every place of a fragment; every next header.
  for (std::size_t left = 0; left < 256; ++left) {
    Bytes header(8, std::byte{0});
    header[0] = std::byte{6};
    header[3] = static_cast<std::byte>(left);
    ASSERT_EQ(bench.verdict_of(ipv6(bench, header, routing, payload)), left == 0 ? Verdict::forward : Verdict::drop_ipv6_extension_invalid) << left;
  }
  const Bytes udp = transport_of(bench, "udp", false);
  for (std::size_t place = 0; place < 0x10000; place += test::tries(10) == 1 ? 7 : 1) {
    Bytes header(8, std::byte{0});
    header[0] = std::byte{17};
    put(header, 2, 2, place);
    const Verdict verdict = bench.verdict_of(ipv6(bench, header, fragment, udp));
    if ((place & 0xfff9) == 0) {
      ASSERT_EQ(verdict, Verdict::forward) << place;
    }
  }
  for (std::size_t next = 0; next < 256; ++next) {
    for (std::size_t bytes = 0; bytes <= 64; ++bytes) {
      const Verdict verdict = bench.verdict_of(ipv6(bench, {}, static_cast<std::uint8_t>(next), Bytes(bytes, std::byte{0x50})));
      ASSERT_TRUE(is_drop(verdict) || is_reject(verdict)) << next << " " << bytes << " " << name_of(verdict);
    }
  }
}

TEST(Exhaustive, TcpHeaderFlagsAndOptions) {
  Bench bench;
  for (const bool is_v4 : {true, false}) {
    const auto packet = [&](const Bytes& tcp) { return is_v4 ? ipv4(bench, {}, 6, tcp) : ipv6(bench, {}, 6, tcp); };
    const Bytes sound = transport_of(bench, "tcp", is_v4);
    // Every header length against every length that is there.
    for (std::size_t words = 0; words < 16; ++words) {
      for (std::size_t bytes = 0; bytes <= 80; ++bytes) {
        Bytes tcp = sound;
        tcp.resize(bytes, std::byte{1});
        if (bytes > 12) put(tcp, 12, 1, words << 4);
        const Verdict verdict = bench.verdict_of(packet(tcp));
        if (bytes < 20 || words < 5 || words * 4 > bytes) {
          ASSERT_EQ(verdict, Verdict::drop_l4_header_invalid) << words << " " << bytes;
        } else {
          ASSERT_FALSE(verdict == Verdict::drop_l4_header_invalid) << words << " " << bytes;
        }
      }
    }
    // Every combination of flags, to every kind of VIP and to none.
    for (const std::size_t port : {80u, 81u, 443u, 7u}) {
      for (std::size_t flags = 0; flags < 256; ++flags) {
        Bytes tcp = sound;
        put(tcp, 0, 2, 20'000 + flags);
        put(tcp, 2, 2, port);
        put(tcp, 13, 1, flags);
        const bool fin = flags & 1, syn = flags & 2, rst = flags & 4, ack = flags & 16;
        const bool is_possible = !(syn && (fin || rst)) && !(rst && fin) && (syn || rst || ack);
        const Verdict verdict = bench.verdict_of(packet(tcp));
        ASSERT_EQ(verdict == Verdict::drop_tcp_flags_invalid, !is_possible) << flags << " " << name_of(verdict);
        // Only a SYN opens a flow.
        if (!syn || ack) {
          ASSERT_NE(verdict, Verdict::forward) << flags;
        }
      }
    }
    // Every kind of option, with every length that it may claim, at each distance from the end of the header.
    for (const std::size_t port : {80u, 81u, 443u}) {
      for (std::size_t kind = 0; kind < 256; kind += kind >= 32 && test::tries(10) == 1 ? 15 : 1) {
        for (const std::size_t length : {0u, 1u, 2u, 3u, 4u, 8u, 10u, 18u, 26u, 34u, 39u, 40u, 41u, 255u}) {
          for (std::size_t before = 0; before < 40; before += before < 30 ? 10 : 1) {
            Bytes tcp = sound;
            tcp.resize(60);
            std::fill(tcp.begin() + 20, tcp.end(), std::byte{1});
            put(tcp, 2, 2, port);
            put(tcp, 12, 1, 0xf0);
            put(tcp, 20 + before, 1, kind);
            if (before < 39) put(tcp, 21 + before, 1, length);
            ASSERT_NE(bench.verdict_of(packet(tcp)), Verdict::drop_l4_header_invalid);
          }
        }
      }
    }
  }
}

TEST(Exhaustive, UdpLengths) {
  Bench bench;
  for (const bool is_v4 : {true, false}) {
    const Bytes sound = transport_of(bench, "udp", is_v4);
    for (std::size_t bytes = 0; bytes <= 80; ++bytes) {
      for (std::size_t said = 0; said <= bytes + 8; ++said) {
        Bytes udp = sound;
        udp.resize(bytes);
        if (bytes > 5) put(udp, 4, 2, said);
        if (bytes > 7) put(udp, 6, 2, 0x1234);
        const Verdict verdict = bench.verdict_of(is_v4 ? ipv4(bench, {}, 17, udp) : ipv6(bench, {}, 17, udp));
        if (bytes < 8 || said < 8 || said > bytes) {
          ASSERT_EQ(verdict, Verdict::drop_l4_header_invalid) << bytes << " " << said;
        } else {
          ASSERT_EQ(verdict, Verdict::forward) << bytes << " " << said;
        }
        if (bytes < 8) continue;
        put(udp, 6, 2, 0);
        const Verdict unsummed = bench.verdict_of(is_v4 ? ipv4(bench, {}, 17, udp) : ipv6(bench, {}, 17, udp));
        if (said < 8 || said > bytes) {
          ASSERT_EQ(unsummed, Verdict::drop_l4_header_invalid);
        } else {
          ASSERT_EQ(unsummed, is_v4 ? Verdict::forward : Verdict::drop_udp_checksum_missing);
        }
      }
    }
  }
}

TEST(Exhaustive, IcmpAndWhatItQuotes) {
  Bench bench;
  for (const bool is_v4 : {true, false}) {
    const auto packet = [&](const Bytes& icmp) {
      Bytes frame = is_v4 ? ipv4(bench, {}, 1, icmp) : ipv6(bench, {}, 58, icmp);
      trace::fix_checksums(frame);
      return frame;
    };
    const std::string quoted = is_v4 ? "10.9.0.1:80 > 203.0.113.1:4000 tcp ack len=40" : "[fd00:9::1]:80 > [2001:db8::1]:4000 tcp ack len=40";
    Bytes inner = bench.frame(quoted);
    inner.erase(inner.begin(), inner.begin() + 14);
    // Every type and code, alone and about a packet.
    for (std::size_t type = 0; type < 256; ++type) {
      for (std::size_t code = 0; code < 256; code += code >= 16 ? 80 : 1) {
        for (const bool has_inner : {false, true}) {
          Bytes icmp(8, std::byte{0});
          put(icmp, 0, 1, type);
          put(icmp, 1, 1, code);
          if (has_inner) icmp.insert(icmp.end(), inner.begin(), inner.end());
          const Verdict verdict = bench.verdict_of(packet(icmp));
          ASSERT_NE(verdict, Verdict::forward) << type << " " << code;
        }
      }
    }
    // What is quoted ends anywhere, says any header length, any length, any protocol, any extension; with a flow that it
    // may be about.
    ASSERT_EQ(bench.verdict_of(is_v4 ? ipv4(bench, {}, 6, transport_of(bench, "tcp", true)) : ipv6(bench, {}, 6, transport_of(bench, "tcp", false))), Verdict::forward);
    std::uint64_t forwarded = 0;
    const std::vector<std::size_t> types = is_v4 ? std::vector<std::size_t>{3, 4, 5, 11, 12} : std::vector<std::size_t>{1, 2, 3, 4, 137};
    for (const std::size_t type : types) {
      const auto about = [&](Bytes quote) {
        Bytes icmp(8, std::byte{0});
        put(icmp, 0, 1, type);
        put(icmp, 6, 2, 1'300);
        icmp.insert(icmp.end(), quote.begin(), quote.end());
        const Verdict verdict = bench.verdict_of(packet(icmp));
        forwarded += verdict == Verdict::forward;
      };
      for (std::size_t end = 0; end <= inner.size(); ++end) {
        about({inner.begin(), inner.begin() + static_cast<long>(end)});
        for (std::size_t first = 0; first < 256; first += test::tries(10) == 1 ? 5 : 1) {
          Bytes quote(inner.begin(), inner.begin() + static_cast<long>(end));
          if (end > 0) quote[0] = static_cast<std::byte>(first);
          about(quote);
        }
        for (const std::size_t next : {0u, 1u, 4u, 6u, 17u, 41u, 43u, 44u, 58u, 60u, 255u}) {
          Bytes quote(inner.begin(), inner.begin() + static_cast<long>(end));
          if (end > (is_v4 ? 9u : 6u)) quote[is_v4 ? 9 : 6] = static_cast<std::byte>(next);
          about(quote);
        }
      }
    }
    EXPECT_GT(forwarded, 0u);  // some were true
  }
}

TEST(Exhaustive, ArpAndNeighborDiscovery) {
  Bench bench;
  for (const char* text : {"arp request 10.9.0.1 tell 10.1.0.254", "arp reply 10.1.0.254 is 02:04:0a:01:00:fe tell 10.1.0.1"}) {
    const Bytes whole = bench.frame(text);
    for (std::size_t end = 1; end <= whole.size(); ++end) {
      const Verdict verdict = bench.verdict_of(std::span(whole).first(end));
      if (end < 42) {
        ASSERT_EQ(verdict, Verdict::drop_frame_truncated) << end;
      } else {
        ASSERT_FALSE(is_drop(verdict)) << name_of(verdict);
      }
    }
    for (std::size_t at = 14; at < 22; ++at) {
      for (std::size_t value = 0; value < 256; ++value) {
        Bytes frame = whole;
        put(frame, at, 1, value);
        const std::size_t was = static_cast<std::size_t>(whole[at]);
        const bool is_operation = at == 21 && (value == 1 || value == 2);
        if (value != was && !is_operation) {
          ASSERT_EQ(bench.verdict_of(frame), Verdict::drop_arp_malformed) << at << " " << value;
        } else {
          ASSERT_NE(bench.verdict_of(frame), Verdict::drop_arp_malformed) << at << " " << value;
        }
      }
    }
  }
  for (const char* text : {"nd solicit fd00:9::1 tell fd00:1::fe", "nd advertise fd00:1::fe is 02:06:00:00:00:fe tell fd00:1::1"}) {
    const Bytes whole = bench.frame(text);
    cut_everywhere(whole, false, 40, [&](Bytes cut, bool is_said) {
      if (is_said) trace::fix_checksums(cut);
      const Verdict verdict = bench.verdict_of(cut);
      if (cut.size() < 54 + 24) {
        ASSERT_TRUE(is_drop(verdict)) << cut.size() << " " << name_of(verdict);
      }
    });
    // Options: every type and length, at the end and before another.
    for (std::size_t type = 0; type < 256; type += type >= 8 ? 31 : 1) {
      for (std::size_t length = 0; length < 256; ++length) {
        for (std::size_t bytes = 0; bytes <= 24; ++bytes) {
          Bytes frame(whole.begin(), whole.begin() + 54 + 24);
          Bytes option(bytes, std::byte{0});
          if (bytes > 0) put(option, 0, 1, type);
          if (bytes > 1) put(option, 1, 1, length);
          frame.insert(frame.end(), option.begin(), option.end());
          put(frame, 18, 2, frame.size() - 54);
          trace::fix_checksums(frame);
          ASSERT_NE(bench.verdict_of(frame), Verdict::forward);
        }
        if (test::tries(10) == 1) length += 6;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::exhaustive_test
