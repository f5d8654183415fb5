// Spliced connections through the pipeline, where a text trace would be too long: every cut of a hello, every order of its
// parts, sequence numbers that wrap, and tables that fill up.
#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/flow/byte_ranges.h"
#include "dataplane/flow/splice_record.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/tcp_options.h"
#include "tests/traces/bed.h"
#include "tests/traces/hello_text.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::splice_test {
namespace {

using trace::Bed;
using trace::Bytes;
using trace::PacketText;
using trace::words_of;

std::unique_ptr<Bed> bed_with_names(const std::string& more = "") {
  trace::Model model;
  const std::string vip = "vip 10.9.0.1:443/tcp { name a.example a; name b.example b; " + more + " }";
  for (const char* line : {"flows 65536", "splices 65536", "cluster a { endpoint 10.2.0.11:443; forwarding splice; }",
                           "cluster b { endpoint 10.2.0.12:443; forwarding splice; }",
                           vip.c_str()}) {
    EXPECT_TRUE(model.change(words_of(line))) << line;
  }
  auto bed = Bed::create(model);
  EXPECT_TRUE(bed);
  return std::move(*bed);
}

std::string hex_of(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte byte : bytes) {
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) >> 4];
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) & 15];
  }
  return hex;
}

// One client and what it has been told.
class Client {
 public:
  Client(Bed& bed, std::uint16_t port, std::uint32_t isn) : bed_(bed), port_(port), isn_(isn) {}

  trace::Fate send(const std::string& rest) {
    const std::string line = "198.51.100.7:" + std::to_string(port_) + " > 10.9.0.1:443 tcp " + rest;
    const auto text = PacketText::parse(words_of(line));
    EXPECT_TRUE(text) << line;
    const auto frame = trace::build_frame(*text, bed_.mac_of(*IpAddress::parse("10.1.0.254")), bed_.port_mac(0), 1);
    return bed_.receive(0, {*frame, 0});
  }
  PacketText next_output() {
    EXPECT_FALSE(bed_.outputs.empty());
    if (bed_.outputs.empty()) return {};
    last_frame_ = bed_.outputs.front().frame;
    bed_.outputs.pop_front();
    return trace::read_frame(last_frame_);
  }
  // Up to the client's ACK.
  void shake_hands() {
    send("syn seq=" + std::to_string(isn_) + " mss=1460 ws=7");
    cookie_ = static_cast<std::uint32_t>(next_output().number("seq", 0));
    EXPECT_EQ(send("ack seq=" + std::to_string(isn_ + 1) + " ack=" + std::to_string(cookie_ + 1)), trace::Fate{Verdict::absorb});
  }
  trace::Fate send_bytes(std::span<const std::byte> bytes, std::uint32_t offset) {
    return send("ack psh seq=" + std::to_string(isn_ + 1 + offset) + " ack=" + std::to_string(cookie_ + 1) + " bytes=" + hex_of(bytes));
  }
  // What the endpoint gets after it has answered our SYN.
  Bytes deliver(const PacketText& syn, std::uint32_t endpoint_isn = 900) {
    EXPECT_TRUE(syn.flags.contains("syn")) << syn.text();
    EXPECT_EQ(syn.number("seq", 0), isn_);
    const std::string line = syn.destination + ":443 > " + syn.source + ":" + syn.source_port + " tcp syn ack seq=" +
                             std::to_string(endpoint_isn) + " ack=" + std::to_string(isn_ + 1) + " mss=1460";
    const auto frame = trace::build_frame(*PacketText::parse(words_of(line)), bed_.mac_of(*IpAddress::parse(syn.destination)),
                                          bed_.port_mac(1), 1);
    bed_.receive(0, {*frame, 1});
    Bytes got;
    while (!bed_.outputs.empty()) {
      const PacketText segment = next_output();
      EXPECT_EQ(static_cast<std::uint32_t>(segment.number("seq", 0)), static_cast<std::uint32_t>(isn_ + 1 + got.size()));
      const std::size_t length = segment.number("len", 0);
      got.insert(got.end(), last_frame_.end() - static_cast<long>(length), last_frame_.end());
    }
    return got;
  }
  std::uint32_t cookie() const { return cookie_; }
  // A PROXY header of so many bytes, which is no part of what the endpoint sees.
  void begin_behind(std::size_t header_bytes) { isn_ += static_cast<std::uint32_t>(header_bytes); }

 private:
  Bed& bed_;
  std::uint16_t port_;
  std::uint32_t isn_, cookie_ = 0;
  Bytes last_frame_;
};

void expect_clean(Bed& bed) {
  const auto faults = bed.take_faults();
  EXPECT_TRUE(faults.empty()) << faults.front();
}

TEST(Splice, AHelloCutAnywhereReachesItsEndpoint) {  // SP-01
  const Bytes plain = trace::build_hello({.name = "b.example", .has_grease = true});
  const Bytes post_quantum = trace::build_hello({.name = "b.example", .key_share_bytes = 1'216});
  const Bytes records = trace::build_hello({.name = "b.example", .record_bytes_max = 40});
  const auto bed = bed_with_names();
  bed->checks_flows_often = false;
  std::uint16_t port = 1'000;
  for (const Bytes& hello : {plain, post_quantum, records}) {
    for (std::size_t cut = 1; cut < hello.size(); cut += test::tries(10) > 1 ? 1 : 17) {
      Client client(*bed, port++, 0xffffff00u);  // and the numbers wrap on the way, SP-14
      client.shake_hands();
      client.send_bytes(std::span(hello).first(cut), 0);
      EXPECT_EQ(client.next_output().number("ack", 0), static_cast<std::uint32_t>(0xffffff01u + cut));
      EXPECT_EQ(client.send_bytes(std::span(hello).subspan(cut), static_cast<std::uint32_t>(cut)), trace::Fate{Verdict::absorb});
      const PacketText syn = client.next_output();
      ASSERT_EQ(syn.destination, "10.2.0.12") << cut;
      ASSERT_EQ(client.deliver(syn), hello) << cut;
    }
  }
  expect_clean(*bed);
}

TEST(Splice, AHelloOfOneByteSegments) {  // SP-01
  const Bytes hello = trace::build_hello({.name = "a.example"});
  const auto bed = bed_with_names();
  Client client(*bed, 1'000, 5);
  client.shake_hands();
  for (std::uint32_t i = 0; i + 1 < hello.size(); ++i) {
    client.send_bytes(std::span(hello).subspan(i, 1), i);
    EXPECT_EQ(client.next_output().number("ack", 0), 6 + i + 1);
  }
  client.send_bytes(std::span(hello).last(1), static_cast<std::uint32_t>(hello.size()) - 1);
  EXPECT_EQ(client.deliver(client.next_output()), hello);
  expect_clean(*bed);
}

// A PROXY header (version 1, or 2 with TLVs) and a hello behind it, as one stream.
Bytes proxied_hello(const std::string& header, const Bytes& hello) {
  Bytes stream = *trace::payload_of(*PacketText::parse(words_of("10.0.0.1:1 > 10.0.0.2:1 tcp " + header)));
  stream.insert(stream.end(), hello.begin(), hello.end());
  return stream;
}

TEST(Splice, AProxyHeaderCutAnywhereIsTakenOff) {  // PP-01: in order, and the second part first
  const Bytes hello = trace::build_hello({.name = "b.example"});
  const auto bed = bed_with_names("proxied 198.51.100.0/24");
  bed->checks_flows_often = false;
  std::uint16_t port = 1'000;
  for (const char* header : {"proxied=v1,203.0.113.9:4000,192.0.2.1:443", "proxied=v2,[2001:db8::9]:4000,[2001:db8::1]:443 tlvs=040003000000"}) {
    const Bytes stream = proxied_hello(header, hello);
    for (std::size_t cut = 1; cut < stream.size(); ++cut) {
      for (const bool is_swapped : {false, true}) {
        Client client(*bed, port++, 0xffffffe0u);  // the numbers wrap inside of the header
        client.shake_hands();
        const auto send_part = [&](bool is_second) {
          const auto at = static_cast<std::uint32_t>(cut);
          return is_second ? client.send_bytes(std::span(stream).subspan(cut), at) : client.send_bytes(std::span(stream).first(cut), 0);
        };
        send_part(is_swapped);
        EXPECT_EQ(client.next_output().number("ack", 0), static_cast<std::uint32_t>(0xffffffe1u + (is_swapped ? 0 : cut)));
        EXPECT_EQ(send_part(!is_swapped), trace::Fate{Verdict::absorb});
        client.begin_behind(stream.size() - hello.size());
        ASSERT_EQ(client.deliver(client.next_output()), hello) << cut;
      }
    }
  }
  expect_clean(*bed);
}

TEST(Splice, AProxyHeaderByteByByteAllOfItAgainEachTime) {  // PP-01
  const Bytes hello = trace::build_hello({.name = "a.example"});
  const Bytes stream = proxied_hello("proxied=v1,203.0.113.9:4000,192.0.2.1:443", hello);
  const auto bed = bed_with_names("proxied 198.51.100.0/24");
  Client client(*bed, 1'000, 5);
  client.shake_hands();
  for (std::size_t end = 1; end < stream.size(); ++end) {
    client.send_bytes(std::span(stream).first(end), 0);
    ASSERT_EQ(client.next_output().number("ack", 0), 6 + end);
  }
  client.send_bytes(stream, 0);
  client.begin_behind(stream.size() - hello.size());
  EXPECT_EQ(client.deliver(client.next_output()), hello);
  expect_clean(*bed);
}

TEST(Splice, BehindAProxyHeaderOf4kBAHelloOf16kB) {  // what comes before it does not count for either limit
  const std::size_t rest = trace::build_hello({.name = "a.example", .padding_bytes = 1}).size() - 1;
  const Bytes hello = trace::build_hello({.name = "a.example", .padding_bytes = held_bytes_max - rest});
  const Bytes stream = proxied_hello("proxied=v2,203.0.113.9:4000,192.0.2.1:443 tlvs=040fe1" + std::string(2 * 4'065, '0'), hello);
  ASSERT_EQ(stream.size(), proxy_header_read_max + held_bytes_max);
  const auto bed = bed_with_names("proxied 198.51.100.0/24");
  Client client(*bed, 1'000, 5);
  client.shake_hands();
  for (std::size_t at = 0; at < stream.size(); at += 1'024) {
    client.send_bytes(std::span(stream).subspan(at, std::min<std::size_t>(1'024, stream.size() - at)), static_cast<std::uint32_t>(at));
    if (at + 1'024 < stream.size()) client.next_output();
  }
  client.begin_behind(proxy_header_read_max);
  EXPECT_EQ(client.deliver(client.next_output()), hello);
  expect_clean(*bed);
}

TEST(Splice, EveryOrderOverlapAndRepetition) {  // SP-02; the first copy of a byte counts
  const Bytes hello = trace::build_hello({.name = "a.example"});
  const Bytes other = trace::build_hello({.name = "b.example"});
  const auto bed = bed_with_names();
  bed->checks_flows_often = false;
  const int quarter = static_cast<int>(hello.size() / 4);
  std::uint16_t port = 1'000;
  std::vector<int> order = {0, 1, 2, 3};
  do {
    for (int overlap = -3; overlap <= 3; ++overlap) {
      for (const bool is_conflicting : {false, true}) {
        Client client(*bed, port++, 77);
        client.shake_hands();
        PacketText syn;
        const auto send_part = [&](int part, const Bytes& from) {
          const int first = std::max(0, part * quarter - (overlap > 0 && part > 0 ? overlap : 0));
          const int end = part == 3 ? static_cast<int>(from.size()) : (part + 1) * quarter;
          client.send_bytes(std::span(from).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first)),
                            static_cast<std::uint32_t>(first));
          while (!bed->outputs.empty()) {
            const PacketText out = client.next_output();
            if (out.flags.contains("syn")) syn = out;
          }
        };
        for (const int part : order) {
          send_part(part, hello);
          if (overlap < 0 && syn.kind.empty()) send_part(part, is_conflicting ? other : hello);  // twice
        }
        ASSERT_EQ(syn.destination, "10.2.0.11");
        ASSERT_EQ(client.deliver(syn), hello);
      }
    }
  } while (std::next_permutation(order.begin(), order.end()));
  expect_clean(*bed);
}

TEST(Splice, AHelloOf16kB) {  // SP-05
  const std::size_t rest = trace::build_hello({.name = "a.example", .padding_bytes = 1}).size() - 1;
  const Bytes hello = trace::build_hello({.name = "a.example", .padding_bytes = hello_bytes_max - rest});
  ASSERT_EQ(hello.size(), hello_bytes_max);
  const auto bed = bed_with_names();
  for (const std::size_t mss : {536u, 1'460u}) {
    Client client(*bed, static_cast<std::uint16_t>(mss), 77);
    client.shake_hands();
    for (std::size_t at = 0; at < hello.size(); at += mss) {
      client.send_bytes(std::span(hello).subspan(at, std::min(mss, hello.size() - at)), static_cast<std::uint32_t>(at));
      if (at + mss < hello.size()) client.next_output();
    }
    EXPECT_EQ(client.deliver(client.next_output()), hello);
  }
  expect_clean(*bed);
}

// SP-07. They hold a small piece of memory each until the hello timeout, and honest clients do not notice.
TEST(Splice, TenThousandHellosThatNeverComplete) {
  const auto bed = bed_with_names();
  bed->checks_flows_often = false;
  const Bytes hello = trace::build_hello({.name = "a.example"});
  constexpr std::uint32_t slow_count = 10'000, honest_count = 300;
  const auto connect_honest = [&](std::uint32_t first_port) {
    for (std::uint32_t i = 0; i < honest_count; ++i) {
      Client client(*bed, static_cast<std::uint16_t>(first_port + i), 5);
      client.shake_hands();
      client.send_bytes(hello, 0);
      ASSERT_EQ(client.deliver(client.next_output()), hello);
    }
  };
  for (std::uint32_t i = 0; i < slow_count; ++i) {
    Client client(*bed, static_cast<std::uint16_t>(1'000 + i), 5);
    client.shake_hands();
    client.send_bytes(std::span(hello).first(1), 0);
    bed->outputs.clear();
  }
  World& world = bed->world(0);
  EXPECT_EQ(world.pending.count(), slow_count);
  connect_honest(20'000);
  EXPECT_LE(world.pending.held_memory_bytes(), (slow_count + honest_count) * 2'048ull);
  EXPECT_EQ(bed->total(Verdict::drop_hello_memory_full) + bed->total(Verdict::drop_pending_full), 0u);
  bed->advance(9'900);
  EXPECT_EQ(world.counters.splice.hello_timeout.read(), 0u);
  bed->advance(4'000);  // an outbox of resets every 25 ms
  EXPECT_EQ(world.counters.splice.hello_timeout.read(), slow_count);
  const auto told = std::count_if(bed->outputs.begin(), bed->outputs.end(), [](const trace::Output& output) {
    return trace::read_frame(output.frame).flags.contains("rst");
  });
  EXPECT_GE(told, slow_count);
  bed->outputs.clear();
  connect_honest(21'000);
  expect_clean(*bed);
}

// OV-03: a flood of ten seconds, then silence: cookies are on within a second, once, and off within a minute; who is honest
// comes through all the time. SYNs come from everywhere, a thousand a second, in steps of 25 ms.
TEST(Splice, CookiesByThresholdComeOnceAndGo) {
  trace::Model model;
  for (const char* line : {"flows 65536", "splices 65536", "cluster web { endpoint 10.2.0.11:80; }",
                           "vip 10.9.0.1:443/tcp { cluster web; cookies_from 500; }"}) {
    ASSERT_TRUE(model.change(words_of(line))) << line;
  }
  auto made = Bed::create(model);
  ASSERT_TRUE(made);
  Bed& bed = **made;
  bed.checks_flows_often = false;
  bed.teaches_sources = false;
  const std::uint32_t vip = bed.tables().vips()[0].id;
  const CookieCounters& cookies = bed.world(0).counters.cookies[vip];
  const auto send = [&](const std::string& line) {
    const auto text = PacketText::parse(words_of(line));
    const auto frame = trace::build_frame(*text, bed.mac_of(*IpAddress::parse("10.1.0.254")), bed.port_mac(0), 1);
    return bed.receive(0, {*frame, 0});
  };
  std::uint64_t on_ms = 0;
  std::uint32_t source = 0;
  for (std::uint64_t ms = 0; ms < 10'000; ms += 25) {
    for (int i = 0; i < 25; ++i, ++source) {
      send("203.0." + std::to_string(source / 200 % 200) + "." + std::to_string(source % 200) + ":" +
           std::to_string(1'024 + source / 40'000) + " > 10.9.0.1:443 tcp syn seq=" + std::to_string(source));
    }
    if (on_ms == 0 && cookies.is_on.read() != 0) on_ms = ms + 25;
    bed.outputs.clear();
    bed.advance(25);
  }
  EXPECT_GT(on_ms, 0u);
  EXPECT_LT(on_ms, 1'000u);
  EXPECT_EQ(cookies.is_on.read(), 1u);
  EXPECT_EQ(bed.flow_count(), 500u) << "no flow is opened for a SYN while it is on";
  // Honest: the cookie comes back, and there is a flow.
  send("198.51.100.7:4000 > 10.9.0.1:443 tcp syn seq=5");
  ASSERT_FALSE(bed.outputs.empty());
  const auto cookie = static_cast<std::uint32_t>(trace::read_frame(bed.outputs.back().frame).number("seq", 0));
  send("198.51.100.7:4000 > 10.9.0.1:443 tcp ack seq=6 ack=" + std::to_string(cookie + 1));
  EXPECT_EQ(bed.world(0).counters.splice.called.read(), 1u);
  bed.advance(9'000);
  EXPECT_EQ(cookies.is_on.read(), 1u) << "not before ten quiet seconds";
  bed.advance(8'000);  // the half-open flows last ten seconds, too
  EXPECT_EQ(cookies.is_on.read(), 0u);
  EXPECT_EQ(cookies.turned_on.read(), 1u);
  bed.outputs.clear();
  EXPECT_EQ(send("198.51.100.7:4001 > 10.9.0.1:443 tcp syn seq=5"), trace::Fate{Verdict::forward});
}

TEST(Splice, TooManyHandshakesAndTooMuchHeldAreNamedDrops) {
  const auto bed = bed_with_names();
  bed->checks_flows_often = false;
  const Bytes half(100, std::byte{22});
  const Bytes large = trace::build_hello({.name = "a.example", .padding_bytes = 6'000});
  std::uint64_t refused = 0;
  for (std::uint16_t i = 0; i < 1'030; ++i) {  // 1,024 large pieces
    Client client(*bed, static_cast<std::uint16_t>(2'000 + i), 5);
    client.shake_hands();
    client.send_bytes(std::span(large).first(1'400), 0);
    client.send_bytes(std::span(large).subspan(1'400, 1'400), 1'400);
    bed->outputs.clear();
  }
  refused = bed->total(Verdict::drop_hello_memory_full);
  EXPECT_GE(refused, 1'030u - 1'024u);
  EXPECT_LE(refused, 1'030u - 1'024u + 64u);
  for (std::uint32_t i = 0; bed->total(Verdict::drop_pending_full) == 0 && i < 17'000; ++i) {
    Client client(*bed, static_cast<std::uint16_t>(4'000 + i), 5);
    client.send("syn seq=5");
    const auto cookie = static_cast<std::uint32_t>(client.next_output().number("seq", 0));
    client.send("ack seq=6 ack=" + std::to_string(cookie + 1));
  }
  EXPECT_EQ(bed->total(Verdict::drop_pending_full), 1u);
  EXPECT_EQ(bed->world(0).pending.count(), pending_max);
  // All of them time out, and then there is room again.
  bed->advance(10'000);
  for (int i = 0; i < 400 && bed->world(0).pending.count() > 0; ++i) bed->advance(25);
  bed->outputs.clear();
  EXPECT_EQ(bed->world(0).pending.count(), 0u);
  EXPECT_EQ(bed->world(0).pending.held_memory_bytes(), 0u);
  Client client(*bed, 1, 5);
  client.shake_hands();
  expect_clean(*bed);
}

TEST(ByteRanges, KeepWhatCameFirst) {
  SLUICE_TRACE_SEED();
  test::Random random(9);
  for (std::uint64_t round = 0; round < test::tries(3'000); ++round) {
    ByteRanges ranges;
    std::array<std::uint8_t, 200> bytes{};  // 0: not here; otherwise the number of the copy that came first
    for (std::uint8_t copy = 1; copy < 40; ++copy) {
      const auto first = static_cast<std::uint16_t>(random.below(199));
      const auto end = static_cast<std::uint16_t>(first + 1 + random.below(200 - first - 1 + 1) % 30);
      const auto clipped = std::min<std::uint16_t>(end, 200);
      std::array<std::uint8_t, 200> expected = bytes;
      for (unsigned i = first; i < clipped; ++i) {
        if (expected[i] == 0) expected[i] = copy;
      }
      auto filled = bytes;
      const bool is_added = ranges.add(first, clipped, [&](std::uint16_t a, std::uint16_t b) {
        for (unsigned i = a; i < b; ++i) {
          ASSERT_EQ(filled[i], 0);
          filled[i] = copy;
        }
      });
      std::size_t piece_count = expected[0] != 0;
      for (std::size_t i = 1; i < expected.size(); ++i) piece_count += expected[i] != 0 && expected[i - 1] == 0;
      ASSERT_EQ(is_added, piece_count <= ByteRanges::count_max);
      if (is_added) bytes = expected;
      ASSERT_EQ(filled, bytes);
      const auto prefix_of = [&] { return static_cast<std::uint32_t>(std::find(bytes.begin(), bytes.end(), 0) - bytes.begin()); };
      ASSERT_EQ(ranges.prefix(), prefix_of());
      if (!random.one_in(8)) continue;
      const auto dropped = static_cast<std::uint16_t>(random.one_in(2) ? prefix_of() : random.below(prefix_of() + 1));
      ranges.drop_front(dropped);
      std::copy(bytes.begin() + dropped, bytes.end(), bytes.begin());
      std::fill(bytes.end() - dropped, bytes.end(), std::uint8_t{0});
      ASSERT_EQ(ranges.prefix(), prefix_of());
    }
  }
}

void apply(TcpHeader& tcp, std::uint64_t change) {
  tcp.checksum = static_cast<std::uint16_t>(~fold_checksum(change + static_cast<std::uint16_t>(~tcp.checksum)));
}

TEST(SpliceRecord, SaysWhatItChangesInTheSumAndIsItsOwnOpposite) {
  SLUICE_TRACE_SEED();
  test::Random random(11);
  for (std::uint64_t round = 0; round < test::tries(50'000); ++round) {
    std::array<std::byte, 60> bytes;
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.word());
    const std::size_t header_bytes = 20 + 4 * random.below(11);
    auto& tcp = *reinterpret_cast<TcpHeader*>(bytes.data());
    tcp.flags = tcp_flag::ack;
    if (header_bytes >= 32) write_timestamps(std::span(bytes).subspan<20, timestamps_bytes>(), 1, 2);
    bytes[32] = std::byte{tcp_option::end};  // or what follows may be timestamps again
    const auto header = std::span(bytes).first(header_bytes);
    tcp.checksum = 0;
    tcp.checksum = checksum_of(header);
    SpliceRecord splice;
    splice.sequence_delta = static_cast<std::uint32_t>(random.word());
    splice.timestamp_delta = static_cast<std::uint32_t>(random.word());
    const std::uint32_t sequence = tcp.sequence.host(), acknowledgment = tcp.acknowledgment.host();
    apply(tcp, translate_to_client(splice, header));
    ASSERT_EQ(tcp.sequence.host(), sequence + splice.sequence_delta);
    ASSERT_EQ(tcp.acknowledgment.host(), acknowledgment);
    apply(tcp, translate_to_endpoint(splice, header));
    ASSERT_EQ(tcp.acknowledgment.host(), acknowledgment - splice.sequence_delta);
    const std::uint16_t sum = checksum_of(header);
    ASSERT_TRUE(sum == 0 || sum == 0xffff);
    if (header_bytes >= 32) {
      const TcpOffer stamps = read_offer(header.subspan(20));
      ASSERT_EQ(stamps.timestamp, 1 + splice.timestamp_delta);
      ASSERT_EQ(stamps.timestamp_echo, 2 - splice.timestamp_delta);
    }
  }
}

}  // namespace
}  // namespace sluice::splice_test
