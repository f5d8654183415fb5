// Filters, and what a Watch notes of packets; the walks themselves are in
// tests/traces/watch_*.trace.
#include "dataplane/pipeline/watch.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <thread>

#include "dataplane/base/spsc_bytes.h"
#include "dataplane/net/pcapng.h"
#include "dataplane/pipeline/walk.h"
#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::watch_test {
namespace {

using trace::Bed;
using trace::Model;

std::unique_ptr<Bed> some_bed() {
  Model model;
  EXPECT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:8080", ";", "}"}));
  EXPECT_TRUE(model.change({"vip", "10.9.0.1:80/tcp", "{", "cluster", "web", ";", "}"}));
  auto bed = Bed::create(model);
  EXPECT_TRUE(bed);
  return std::move(*bed);
}

trace::Input syn_of(Bed& bed, const std::string& source) {
  trace::Words words{source, ">", "10.9.0.1:80", "tcp", "syn", "len=300"};
  const auto text = trace::PacketText::parse(words);
  EXPECT_TRUE(text) << text.error().message;
  const auto address = *IpAddress::parse(source.substr(0, source.find(':')));
  return {*trace::build_frame(*text, bed.mac_of(address), bed.port_mac(0), 1), 0};
}

struct Case {
  const char* filter;
  bool is_match;
};

TEST(PacketFilter, matches_what_it_says) {
  const auto bed = some_bed();
  const FlowKey before{*IpAddress::parse("198.51.100.7"), *IpAddress::parse("10.9.0.1"),
                       be16(4'000), be16(80), 6};
  const FlowKey after{*IpAddress::parse("10.2.0.100"), *IpAddress::parse("10.2.0.11"), be16(1'025),
                      be16(8'080), 6};
  PacketFacts facts;
  facts.before = &before;
  facts.after = &after;
  facts.kind = FrameKind::tcp;
  facts.port_in = "outside";
  facts.port_out = "inside";
  facts.vip = facts.virtual_host = bed->tables().name(bed->tables().vips()[0].name);
  facts.endpoint = bed->tables().name(bed->tables().endpoints()[0].name);
  facts.verdict = Verdict::drop_tx_full;
  facts.state = FlowState::one_way;
  const std::string vip(facts.vip), endpoint(facts.endpoint);
  const Case cases[] = {
      {"", true},
      {"any", true},
      {"not any", false},
      {"host 198.51.100.7", true},
      {"host 10.2.0.11", true},
      {"host 198.51.100.8", false},
      {"src 198.51.100.7", true},
      {"dst 198.51.100.7", false},
      {"dst 10.2.0.0/24", true},
      {"src 10.9.0.0/16", false},
      {"net 198.51.0.0/16", true},
      {"net 0.0.0.0/0", true},
      {"net ::/0", false},  // the families are apart
      {"net 2001:db8::/32", false},
      {"port 80", true},
      {"port 8080", true},
      {"port 81-4000", true},
      {"port 81-1024", false},
      {"proto tcp", true},
      {"proto udp", false},
      {"port-name inside", true},
      {"port-name kernel", false},
      {"verdict drop_tx_full", true},
      {"verdict drop.tx_full", true},
      {"verdict tx_full", true},
      {"verdict drop", true},
      {"verdict reject", false},
      {"verdict forward", false},
      {"state one-way", true},
      {"state established", false},
      {"host 198.51.100.7 port 81", false},
      {"host 198.51.100.7 and port 80", true},
      {"port 81 or port 80", true},
      {"port 81 or port 82 and port 80", false},
      {"(port 81 or port 82) and port 80", false},
      {"(port 81 or port 80) port 80", true},
      {"not port 81 and not (proto udp or host 192.0.2.1)", true},
      {"!port 81", true},
      {"not not port 80", true},
  };
  for (const Case& c : cases) {
    const auto filter = PacketFilter::parse(c.filter, bed->tables());
    ASSERT_TRUE(filter) << c.filter << ": " << filter.error().message;
    EXPECT_EQ(filter->matches(facts), c.is_match) << c.filter;
  }
  EXPECT_TRUE(PacketFilter::parse("vip " + vip, bed->tables())->matches(facts));
  EXPECT_TRUE(PacketFilter::parse("endpoint " + endpoint, bed->tables())->matches(facts));

  // A packet without addresses or ports.
  PacketFacts arp;
  arp.kind = FrameKind::arp;
  EXPECT_TRUE(PacketFilter::parse("proto arp", bed->tables())->matches(arp));
  EXPECT_FALSE(PacketFilter::parse("net 0.0.0.0/0", bed->tables())->matches(arp));
  facts.kind = FrameKind::icmp;
  EXPECT_FALSE(PacketFilter::parse("port 0-65535", bed->tables())->matches(facts));
}

TEST(PacketFilter, says_which_word_is_wrong) {
  const auto bed = some_bed();
  const std::pair<std::string, const char*> cases[] = {
      {"hst 10.0.0.1", "'hst' is unknown; expected one of any, host"},
      {"10.0.0.1", "did you mean 'host 10.0.0.1'?"},
      {"10.0.0.0/8", "did you mean 'net 10.0.0.0/8'?"},
      {"80 or 81", "did you mean 'port 80'?"},
      {"drop", "did you mean 'verdict drop'?"},
      {"established", "did you mean 'state established'?"},
      {"udp", "did you mean 'proto udp'?"},
      {"state open", "state 'open': expected opening, answered, established"},
      {"host", "'host' wants an IP address after it"},
      {"host 10.0.0", "host '10.0.0': expected an IP address"},
      {"host 10.0.0.0/8", "host '10.0.0.0/8': expected an IP address"},
      {"net 10.0.0.1", "net '10.0.0.1': expected a prefix"},
      {"port 70000", "port '70000': expected a port from 0 to 65535"},
      {"port 9-8", "port '9-8': expected a port"},
      {"port -1", "port '-1'"},
      {"proto gre", "expected one of tcp, udp"},
      {"vip nosuch", "no vip is named 'nosuch'; known are"},
      {"port-name eth0", "no port is named 'eth0'; known are inside, kernel, outside"},
      {"verdict dropped", "verdict 'dropped': expected a name that show drops prints"},
      {"(port 80", "a ')' is missing"},
      {"port 80)", "')' closes nothing"},
      {"port 80 and", "ends too early"},
      {"or port 80", "'or' is unknown"},
      {"not", "ends too early"},
      {std::string(40, '('), "deeper than 16 levels"},
  };
  for (const auto& [text, complaint] : cases) {
    const auto filter = PacketFilter::parse(text, bed->tables());
    ASSERT_FALSE(filter) << text;
    EXPECT_NE(filter.error().message.find(complaint), std::string::npos)
        << text << ": " << filter.error().message;
  }
  std::string longest = "port 1";
  for (int i = 0; i < 40; ++i) longest += " or port 1";
  EXPECT_FALSE(PacketFilter::parse(longest, bed->tables()));
}

TEST(Walk, tells_what_the_first_bytes_of_a_client_led_to) {
  WatchEntry entry;
  entry.was_received = true;
  entry.kind = FrameKind::tcp;
  entry.decided_in = Stage::peek;
  entry.vip.set("https");
  const auto texts = [&](Verdict verdict, std::uint8_t flags) {
    entry.verdict = verdict;
    entry.tcp_flags = flags;
    std::map<std::string_view, std::string> texts;
    for (WalkStep& step : walk_of(entry)) texts[step.stage] = std::move(step.text);
    return texts;
  };
  EXPECT_EQ(texts(Verdict::reply, tcp_flag::syn)["peek"], "the SYN is answered with a cookie");
  EXPECT_EQ(texts(Verdict::reply, tcp_flag::syn)["classify"], "VIP https, whose virtual host the client's first bytes tell");
  EXPECT_EQ(texts(Verdict::absorb, tcp_flag::ack)["peek"], "the handshake is complete; the client's first bytes are awaited");
  EXPECT_EQ(texts(Verdict::absorb, tcp_flag::rst)["peek"], "the client has given up");
  EXPECT_EQ(texts(Verdict::reply, tcp_flag::ack)["peek"], "acknowledged; what is missing of its first bytes is awaited");
  EXPECT_EQ(texts(Verdict::reject_not_tls, tcp_flag::ack)["peek"], "decided here");
  entry.server_name.set("a.example.com");
  EXPECT_EQ(texts(Verdict::reject_name_unknown, tcp_flag::ack)["peek"], "server name a.example.com");
  entry.has_called = true;
  entry.virtual_host.set("shop");
  entry.endpoint.set("shop-1");
  EXPECT_EQ(texts(Verdict::absorb, tcp_flag::ack)["peek"],
            "server name a.example.com: virtual host shop, endpoint shop-1 is called");
}

TEST(Watch, keeps_the_frame_as_it_came_and_as_it_left_up_to_the_snap_length) {
  const auto bed = some_bed();
  ASSERT_TRUE(bed->watch("proto tcp", 60));
  const trace::Input input = syn_of(*bed, "198.51.100.7:4000");
  bed->receive(0, input);
  const auto seen = bed->take_seen();
  ASSERT_EQ(seen.size(), 1u);
  const WatchEntry& entry = seen[0].entry;
  ASSERT_EQ(seen[0].received.size(), 60u);
  EXPECT_TRUE(std::equal(seen[0].received.begin(), seen[0].received.end(), input.frame.begin()));
  ASSERT_EQ(bed->outputs.size(), 1u);
  ASSERT_EQ(seen[0].sent.size(), 60u);
  EXPECT_TRUE(std::equal(seen[0].sent.begin(), seen[0].sent.end(), bed->outputs[0].frame.begin()));
  EXPECT_EQ(entry.received_bytes, input.frame.size());
  EXPECT_EQ(text_before(entry), "tcp 198.51.100.7:4000 > 10.9.0.1:80 syn");
  EXPECT_EQ(address_port_text(entry.after.destination, entry.after.destination_port),
            "10.2.0.11:8080");
  EXPECT_EQ(entry.port_in.view(), "outside");
  EXPECT_EQ(entry.port_out.view(), "inside");
  EXPECT_TRUE(entry.is_flow_new);
  bed->outputs.clear();
}

TEST(Watch, counts_what_a_full_ring_loses) {
  const auto bed = some_bed();
  ASSERT_TRUE(bed->watch("any", 9'000));
  const std::size_t fitting = Watch::ring_bytes / (sizeof(WatchEntry));
  for (std::size_t i = 0; i < fitting + 200; ++i) {
    bed->receive(0, syn_of(*bed, "198.51.100.7:" + std::to_string(1'000 + i % 50'000)));
    bed->outputs.clear();
  }
  const std::uint64_t lost = bed->world(0).watch->lost(0);
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(bed->take_seen().size() + lost, fitting + 200);
  EXPECT_TRUE(bed->take_faults().empty());
}

TEST(SpscBytes, gives_every_record_back_in_order_between_two_threads) {
  SpscBytes ring(4'096);
  constexpr std::uint32_t count = 20'000;
  std::thread writer([&] {
    std::minstd_rand random(7);
    for (std::uint32_t i = 0; i < count;) {
      const std::size_t bytes = 4 + random() % 900;
      const auto room = ring.reserve(bytes);
      if (room.empty()) {
        std::this_thread::yield();
        random.seed(7 + i);  // lengths need not repeat; contents tell
        continue;
      }
      std::memcpy(room.data(), &i, sizeof i);
      std::fill(room.begin() + 4, room.end(), static_cast<std::byte>(i));
      ring.commit();
      ++i;
    }
  });
  std::uint32_t expected = 0;
  bool is_same = true;
  while (expected < count) {
    const auto record = ring.front();
    if (record.empty()) {
      std::this_thread::yield();
      continue;
    }
    std::uint32_t number = 0;
    std::memcpy(&number, record.data(), sizeof number);
    is_same = is_same && number == expected;
    for (const std::byte byte : record.subspan(4))
      is_same = is_same && byte == static_cast<std::byte>(expected);
    ring.pop();
    ++expected;
  }
  writer.join();
  EXPECT_TRUE(is_same);
  EXPECT_TRUE(ring.front().empty());
  EXPECT_TRUE(ring.reserve(2'048).empty());  // with its length above half of the ring: never
}

TEST(Pcapng, is_as_the_draft_draws_it) {
  std::string file;
  append_pcapng_section(file, "S");
  EXPECT_EQ(file.size() % 4, 0u);
  const auto word = [&](std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, file.data() + offset, sizeof value);
    return value;
  };
  EXPECT_EQ(word(0), 0x0a0d0d0au);
  EXPECT_EQ(word(8), 0x1a2b3c4du);
  EXPECT_EQ(word(4), file.size());
  EXPECT_EQ(word(file.size() - 4), file.size());
  const std::size_t interface = file.size();
  append_pcapng_interface(file, "outside", 60);
  EXPECT_EQ(word(interface), 1u);
  EXPECT_EQ(word(interface + 8), 1u);  // Ethernet
  EXPECT_EQ(word(interface + 12), 60u);
  const std::size_t packet = file.size();
  const std::array<std::byte, 5> bytes{};
  append_pcapng_packet(file, {0, 0x100000002ull, true, 1'500, bytes, "why"});
  EXPECT_EQ(word(packet), 6u);
  EXPECT_EQ(word(packet + 12), 1u);  // stamp, high and low
  EXPECT_EQ(word(packet + 16), 2u);
  EXPECT_EQ(word(packet + 20), 5u);
  EXPECT_EQ(word(packet + 24), 1'500u);
  EXPECT_EQ(word(packet + 4), file.size() - packet);
  EXPECT_EQ(word(file.size() - 4), file.size() - packet);
  EXPECT_EQ(file.size() % 4, 0u);
}

}  // namespace
}  // namespace sluice::watch_test
