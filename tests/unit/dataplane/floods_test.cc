// Floods in process, in virtual time: a million forged RSTs and FINs against one flow (FT-06), fragments of datagrams that never
// become whole (FR-03).
#include "dataplane/flow/tcp_state.h"
#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::floods_test {
namespace {

using trace::Bed;
using trace::Bytes;
using trace::PacketText;

PacketText segment(const std::string& source, std::uint32_t source_port, const std::string& destination, std::uint32_t destination_port,
                   std::set<std::string> flags, std::uint32_t sequence, std::uint32_t acknowledgment) {
  PacketText text;
  text.kind = "tcp";
  text.source = source;
  text.source_port = std::to_string(source_port);
  text.destination = destination;
  text.destination_port = std::to_string(destination_port);
  text.flags = std::move(flags);
  text.options["seq"] = std::to_string(sequence);
  text.options["ack"] = std::to_string(acknowledgment);
  return text;
}

// One connection, whose ends are alive and silent but for what TCP makes them answer.
class OneConnection {
 public:
  static constexpr std::uint32_t client_isn = 100, endpoint_isn = 900;

  void open() {
    trace::Model model;
    ASSERT_TRUE(model.change({"timeouts", "opening", "10s", "closing", "10s", "closed", "5s", "reset", "5s"}));
    ASSERT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:8080", "}", "vip", "10.9.0.1:80/tcp", "{", "cluster", "web", ";",
                              "idle", "60s", "}"}));
    auto bed = Bed::create(model);
    ASSERT_TRUE(bed) << bed.error().message;
    bed_ = std::move(*bed);
    bed_->checks_flows_often = false;
    ASSERT_EQ(send(from_client({"syn"}, client_isn, 0)), Verdict::forward);
    snat_port_ = static_cast<std::uint32_t>(std::stoul(trace::read_frame(bed_->outputs.front().frame).source_port));
    ASSERT_EQ(send(from_endpoint({"syn", "ack"}, endpoint_isn, client_isn + 1)), Verdict::forward);
    ASSERT_EQ(send(from_client({"ack"}, client_isn + 1, endpoint_isn + 1)), Verdict::forward);
    bed_->outputs.clear();
  }

  PacketText from_client(std::set<std::string> flags, std::uint32_t sequence, std::uint32_t acknowledgment) const {
    return segment("198.51.100.7", 4'000, "10.9.0.1", 80, std::move(flags), sequence, acknowledgment);
  }
  PacketText from_endpoint(std::set<std::string> flags, std::uint32_t sequence, std::uint32_t acknowledgment) const {
    return segment("10.2.0.11", 8'080, "10.2.0.100", snat_port_, std::move(flags), sequence, acknowledgment);
  }
  trace::Input input(const PacketText& text) {
    const std::uint16_t port = text.source == "198.51.100.7" ? 0 : 1;
    const IpAddress from = *IpAddress::parse(port == 0 ? "10.1.0.254" : "10.2.0.11");
    return {*trace::build_frame(text, bed_->mac_of(from), bed_->port_mac(port), 1), port};
  }
  Verdict send(const PacketText& text) { return bed_->receive(0, input(text)).back(); }

  // The endpoint answers what is out of its window with where it stands (RFC 9293 3.10.7.4); how many questions came.
  std::size_t answer_questions(bool has_connection) {
    std::size_t count = 0;
    while (!bed_->outputs.empty()) {
      const auto output = std::move(bed_->outputs.front());
      bed_->outputs.pop_front();
      if (output.verdict != Verdict::undecided) continue;
      ++count;
      const PacketText question = trace::read_frame(output.frame);
      EXPECT_EQ(question.destination, "10.2.0.11");
      const auto number = static_cast<std::uint32_t>(question.number("ack", 0));
      if (has_connection) {
        EXPECT_EQ(send(from_endpoint({"ack"}, endpoint_isn + 1, client_isn + 1)), Verdict::forward);
      } else {
        EXPECT_EQ(send(from_endpoint({"rst"}, number, 0)), Verdict::absorb);
      }
    }
    return count;
  }

  FlowRecord& record() { return const_cast<FlowRecord&>(bed_->world(0).flows.records()[0]); }
  Bed& bed() { return *bed_; }

 private:
  std::unique_ptr<Bed> bed_;
  std::uint32_t snat_port_ = 0;
};

struct Forger {
  const char* name;
  bool as_client, as_endpoint;
  bool is_answered;  // the endpoint answers questions; else its silence proves nothing either
};

class ForgedEndings : public testing::TestWithParam<Forger> {};

TEST_P(ForgedEndings, AMillionOfThemEndNoConnection) {
  SLUICE_TRACE_SEED();
  test::Random random(80);
  OneConnection connection;
  ASSERT_NO_FATAL_FAILURE(connection.open());
  Bed& bed = connection.bed();
  const NodeRow& node = bed.tables().node();
  // Two frames, whose numbers and flags are drawn anew each time.
  const Bytes frames[2] = {connection.input(connection.from_client({"rst"}, 0, 0)).frame, connection.input(connection.from_endpoint({"rst"}, 0, 0)).frame};
  const std::uint64_t count = test::tries(1'000'000) / 2 * 2;
  bed.teaches_sources = bed.checks_outputs = false;  // known since the handshake; a million alike
  std::uint64_t questions = 0, bursts = 0;
  for (std::uint64_t sent = 0; sent < count;) {
    std::vector<trace::Input> burst;
    for (; burst.size() < burst_count_max && sent < count; ++sent) {
      const bool is_client = GetParam().as_client && (!GetParam().as_endpoint || random.one_in(2));
      Bytes frame = frames[is_client ? 0 : 1];
      constexpr std::size_t tcp = 34;
      const std::uint64_t word = random.word();
      const std::uint32_t expected = is_client ? OneConnection::client_isn + 1 : OneConnection::endpoint_isn + 1;
      // A quarter falls into the window. The one number that its receiver would believe is left out, as is the one before it.
      auto sequence = static_cast<std::uint32_t>(word >> 32);
      if (word % 4 == 0) sequence = expected + 1 + sequence % 65'535;
      if (sequence == expected || sequence == expected - 1) sequence += 2;
      for (std::size_t i = 0; i < 4; ++i) frame[tcp + 4 + i] = static_cast<std::byte>(sequence >> (24 - 8 * i));
      for (std::size_t i = 0; i < 4; ++i) frame[tcp + 8 + i] = static_cast<std::byte>(word >> (8 * i));
      const std::uint8_t kinds[] = {tcp_flag::rst, tcp_flag::rst | tcp_flag::ack, tcp_flag::fin | tcp_flag::ack,
                                    tcp_flag::fin | tcp_flag::ack | tcp_flag::psh};
      frame[tcp + 13] = static_cast<std::byte>(kinds[word >> 8 & 3]);
      trace::fix_checksums(frame);
      burst.push_back({std::move(frame), static_cast<std::uint16_t>(is_client ? 0 : 1)});
    }
    for (const trace::Fate& fate : bed.receive(0, burst)) ASSERT_EQ(fate.back(), Verdict::forward);
    if (GetParam().is_answered) {
      questions += connection.answer_questions(true);
    } else {
      for (const auto& output : bed.outputs) questions += output.verdict == Verdict::undecided;
      bed.outputs.clear();
    }
    ASSERT_EQ(timeout_ms_of(connection.record(), node), 60'000u) << "after " << sent << ", " << name_of(connection.record().state);
    if (++bursts % 64 == 0) bed.advance(25);
  }
  // Asked is once until the endpoint speaks: here after each burst, or never. Who speaks in its name may have us ask again.
  EXPECT_GE(questions, 1u);
  EXPECT_LE(questions, GetParam().as_endpoint ? count : GetParam().is_answered ? bursts : 1);
  bed.teaches_sources = bed.checks_outputs = true;
  // Now both ends are silent for as long as they may be.
  bed.advance(55'000);
  ASSERT_EQ(bed.flow_count(), 1u);
  EXPECT_EQ(connection.send(connection.from_client({"ack"}, OneConnection::client_isn + 1, OneConnection::endpoint_isn + 1)), Verdict::forward);
  EXPECT_EQ(connection.send(connection.from_endpoint({"ack"}, OneConnection::endpoint_isn + 1, OneConnection::client_isn + 1)), Verdict::forward);
  bed.outputs.clear();
  // And a true reset ends it as soon as ever.
  EXPECT_EQ(connection.send(connection.from_client({"rst"}, OneConnection::client_isn + 1, 0)), Verdict::forward);
  EXPECT_EQ(connection.answer_questions(false), 1u);
  bed.advance(4'900);
  EXPECT_EQ(bed.flow_count(), 1u);
  bed.advance(2'200);
  EXPECT_EQ(bed.flow_count(), 0u);
  bed.check_flows();
  const auto faults = bed.take_faults();
  EXPECT_TRUE(faults.empty()) << faults.front();
}

INSTANTIATE_TEST_SUITE_P(Forgers, ForgedEndings,
                         testing::Values(Forger{"of_the_client", true, false, true}, Forger{"of_the_endpoint", false, true, true},
                                         Forger{"of_both", true, true, true}, Forger{"of_the_client_and_no_answer", true, false, false}),
                         [](const testing::TestParamInfo<Forger>& info) { return std::string(info.param.name); });

// FR-03. Ten times as many datagrams as the table has places, within one timeout: firsts alone, lasts alone, middles, some in an
// honest client's name. Between them a TCP connection and another client's datagrams of three fragments, in every order.
class FragmentFlood {
 public:
  static constexpr std::uint32_t datagrams_max = 4'096, held_bytes_max = 1u << 18;
  static constexpr std::uint64_t flood_count = 10 * datagrams_max;
  static constexpr std::uint64_t gap = 64;  // packets of the flood between two honest ones

  FragmentFlood() : random_(81) {}

  void run() {
    build();
    if (testing::Test::HasFatalFailure()) return;
    bed_->checks_outputs = false;
    std::uint64_t honest = 0;
    for (std::uint64_t sent = 0; sent < flood_count; sent += gap) {
      for (std::uint64_t i = 0; i < gap; i += burst_count_max) {
        std::vector<trace::Input> burst;
        while (burst.size() < burst_count_max) burst.push_back(flood_fragment());
        bed_->receive(0, burst);
        look();
      }
      send_honest_fragment(honest++);
      ASSERT_NO_FATAL_FAILURE(talk());
      if (sent % 1'024 == 0) bed_->advance(25);  // a second in all: nothing times out
    }
    EXPECT_GT(bed_->total(Verdict::drop_fragment_hold_full) + bed_->total(Verdict::drop_fragment_unclaimed), flood_count / 4)
        << "the flood was none";
    const std::uint64_t sent_whole = honest / 3;
    EXPECT_GE(whole_, sent_whole / 2) << "of " << sent_whole;
    EXPECT_GT(sent_whole, 200u);
    testing::Test::RecordProperty("honest_whole", std::to_string(whole_) + " of " + std::to_string(sent_whole));
    testing::Test::RecordProperty("hold_full", std::to_string(bed_->total(Verdict::drop_fragment_hold_full)));
    testing::Test::RecordProperty("unclaimed", std::to_string(bed_->total(Verdict::drop_fragment_unclaimed)));
    bed_->checks_outputs = true;
    // Behind it nothing is left over, and all honest datagrams arrive.
    bed_->advance(6'000);
    look();
    EXPECT_EQ(bed_->world(0).fragments.held_count(), 0u);
    EXPECT_EQ(bed_->world(0).fragments.datagram_count(), 0u);
    whole_ = 0;
    for (std::uint64_t i = 0; i < 30; ++i) send_honest_fragment(honest / 3 * 3 + i);
    EXPECT_EQ(whole_, 10u);
    const auto faults = bed_->take_faults();
    EXPECT_TRUE(faults.empty()) << faults.front();
  }

 private:
  void build() {
    trace::Model model;
    ASSERT_TRUE(model.change({"cluster", "dns", "{", "endpoint", "10.2.0.13:53", "}", "vip", "10.9.0.1:53/udp", "{", "cluster", "dns", "}"}));
    ASSERT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:8080", "}", "vip", "10.9.0.1:80/tcp", "{", "cluster", "web", "}"}));
    ASSERT_TRUE(model.change({"flows", "65536"}));
    ASSERT_TRUE(model.change({"fragments", "datagrams", std::to_string(datagrams_max), "held", std::to_string(held_bytes_max)}));
    auto bed = Bed::create(model);
    ASSERT_TRUE(bed) << bed.error().message;
    bed_ = std::move(*bed);
    bed_->checks_flows_often = false;
    ASSERT_EQ(send(segment("198.51.100.7", 4'000, "10.9.0.1", 80, {"syn"}, 100, 0)), Verdict::forward);
    snat_port_ = static_cast<std::uint32_t>(std::stoul(trace::read_frame(bed_->outputs.front().frame).source_port));
    ASSERT_EQ(send(segment("10.2.0.11", 8'080, "10.2.0.100", snat_port_, {"syn", "ack"}, 900, 101)), Verdict::forward);
    ASSERT_NO_FATAL_FAILURE(talk());
  }

  trace::Input input(const PacketText& text) {
    const std::uint16_t port = text.source == "10.2.0.11" ? 1 : 0;
    const IpAddress from = *IpAddress::parse(port == 0 ? "10.1.0.254" : "10.2.0.11");
    return {*trace::build_frame(text, bed_->mac_of(from), bed_->port_mac(port), 7), port};
  }
  Verdict send(const PacketText& text) { return bed_->receive(0, input(text)).back(); }

  void talk() {
    ASSERT_EQ(send(segment("198.51.100.7", 4'000, "10.9.0.1", 80, {"ack"}, 101, 901)), Verdict::forward);
    ASSERT_EQ(send(segment("10.2.0.11", 8'080, "10.2.0.100", snat_port_, {"ack"}, 901, 101)), Verdict::forward);
    look();
  }

  PacketText piece(const std::string& source, std::uint64_t source_port, std::uint64_t id, std::uint64_t length, const std::string& range) {
    PacketText text;
    text.kind = "udp";
    text.source = source;
    text.source_port = std::to_string(source_port);
    text.destination = "10.9.0.1";
    text.destination_port = "53";
    text.options = {{"len", std::to_string(length)}, {"fid", std::to_string(id)}, {"piece", range}};
    return text;
  }

  trace::Input flood_fragment() {
    const bool is_in_honest_name = random_.one_in(8);
    const std::string source = is_in_honest_name ? "203.0.113.5" : "198.18." + std::to_string(random_.below(256)) + "." + std::to_string(1 + random_.below(254));
    const char* const ranges[] = {"0-1480", "1480-2960", "2960-3008", "2960-3008"};
    return input(piece(source, 1'024 + random_.below(60'000), random_.below(65'536), 3'000, ranges[random_.below(4)]));
  }

  // Datagram number i / 3, which has a length that no other sender's has.
  void send_honest_fragment(std::uint64_t i) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const char* const ranges[] = {"0-1480", "1480-2960", "2960-4008"};
    const std::uint64_t datagram = i / 3;
    bed_->receive(0, input(piece("203.0.113.5", 5'000, 1 + datagram % 65'000, 4'000, ranges[orders[datagram % 6][i % 3]])));
    look();
  }

  // What came out, and what the table holds.
  void look() {
    for (const trace::Output& output : bed_->outputs) {
      const Bytes whole = reassembly_.add(output.frame);
      if (whole.empty()) continue;
      const PacketText datagram = trace::read_frame(whole);
      if (datagram.kind == "udp" && datagram.destination == "10.2.0.13" && datagram.option("len") == "4000") ++whole_;
    }
    bed_->outputs.clear();
    const FragmentTable& table = bed_->world(0).fragments;
    ASSERT_LE(table.waiting_bytes(), held_bytes_max);
    ASSERT_LE(table.held_count(), FragmentTable::held_max);
    ASSERT_LE(table.datagram_count(), datagrams_max);
  }

  test::Random random_;
  std::unique_ptr<Bed> bed_;
  trace::Reassembly reassembly_;
  std::uint32_t snat_port_ = 0;
  std::uint64_t whole_ = 0;
};

TEST(FragmentFlood, HonestDatagramsAndConnectionsComeThroughAndMemoryStaysWithinItsLimit) {
  SLUICE_TRACE_SEED();
  FragmentFlood().run();
}

}  // namespace
}  // namespace sluice::floods_test
