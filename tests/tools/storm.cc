#include "tests/tools/storm.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <random>

#include "tests/traces/bed.h"

namespace sluice {
namespace {

using trace::Bed;
using trace::Bytes;
using trace::Input;

constexpr std::size_t live_flow_count = 100;
constexpr std::uint64_t live_round_packets = 2'048;  // storm packets between two rounds of the live flows
constexpr std::size_t faults_max = 5;
constexpr std::size_t stock_count = 4'096, uses_usual = 16;  // packets to begin with, and how often each is one
constexpr MacAddress outside_mac{{0x02, 4, 10, 1, 0, 254}};
constexpr MacAddress stranger_mac{{0x02, 0x77, 0, 0, 0, 1}};

class Storm {
 public:
  explicit Storm(const StormOptions& options) : options_(options), random_(options.seed) {}

  Result<StormReport> run() {
    if (auto ready = build(); !ready) return tl::unexpected(ready.error());
    if (!open_live_flows()) return fail("storm: the live flows do not open: " + join_faults());
    bed_->checks_flows_often = false;
    bed_->teaches_sources = false;  // the storm's hosts have to be asked for
    std::uint64_t next_live = 0;
    while (report_.packets < options_.count && report_.faults.size() < faults_max) {
      if (report_.packets >= next_live) {
        talk();
        next_live = report_.packets + live_round_packets;
      }
      blow();
    }
    talk();
    bed_->check_flows();
    collect_faults();
    for (std::size_t i = 0; i < verdict_count; ++i) {
      const auto verdict = static_cast<Verdict>(i);
      if (bed_->total(verdict) > 0) report_.verdicts[std::string(name_of(verdict))] = bed_->total(verdict);
    }
    return std::move(report_);
  }

 private:
  struct LiveFlow {
    Bytes to_vip, to_snat;          // the frames that client and endpoint send
    Bytes at_endpoint, at_client;   // addresses and ports as they must come out
    std::uint32_t lcore = 0;
  };

  std::uint64_t below(std::uint64_t end) { return random_() % end; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::string join_faults() const { return report_.faults.empty() ? "no fault named" : report_.faults.front(); }

  Result<void> build() {
    trace::Model model;
    for (const trace::Words& words : std::vector<trace::Words>{
             {"lcores", "2"}, {"flows", "8192"}, {"exception", "on"},
             {"cluster", "web", "{", "endpoint", "10.2.0.11:8080", ";", "endpoint", "10.2.0.12:8080", "}"},
             {"cluster", "dns", "{", "endpoint", "10.2.0.13:53", "}"},
             {"cluster", "web6", "{", "endpoint", "[fd00:2::11]:8080", "}"},
             {"cluster", "direct", "{", "endpoint", "10.2.0.14:80", ";", "forwarding", "nat", "}"},
             {"vip", "10.9.0.1:80/tcp", "{", "cluster", "web", "}"},
             {"vip", "10.9.0.1:53/udp", "{", "cluster", "dns", "}"},
             {"vip", "[fd00:9::1]:80/tcp", "{", "cluster", "web6", "}"},
             {"vip", "10.9.0.2:80/tcp", "{", "cluster", "direct", "}"}}) {
      if (auto changed = model.change(words); !changed) return changed;
    }
    auto bed = Bed::create(model);
    if (!bed) return tl::unexpected(bed.error());
    bed_ = std::move(*bed);
    return {};
  }

  Bytes frame(const trace::PacketText& text, MacAddress source, MacAddress destination) {
    auto built = trace::build_frame(text, source, destination, static_cast<std::uint32_t>(random_()));
    return built ? std::move(*built) : Bytes(60);
  }

  static trace::PacketText segment(const std::string& kind, const std::string& source, std::uint64_t source_port,
                                   const std::string& destination, std::uint64_t destination_port) {
    trace::PacketText text;
    text.kind = kind;
    text.source = source;
    text.source_port = std::to_string(source_port);
    text.destination = destination;
    text.destination_port = std::to_string(destination_port);
    return text;
  }

  // Addresses and ports: what must stay the same for the whole life of a flow.
  static Bytes tuple_of(const Bytes& frame) {
    const bool is_v4 = frame.size() > 14 && frame[12] == std::byte{0x08};
    const std::size_t first = is_v4 ? 26 : 22, end = is_v4 ? 38 : 58;
    return frame.size() < end ? Bytes() : Bytes(frame.begin() + static_cast<long>(first), frame.begin() + static_cast<long>(end));
  }

  std::optional<trace::Output> send(std::uint32_t lcore, const Bytes& frame, std::uint16_t port) {
    const Verdict verdict = bed_->receive(lcore, {frame, port}).back();
    collect_faults();
    std::optional<trace::Output> output;
    if (verdict == Verdict::forward && bed_->outputs.size() == 1) output = std::move(bed_->outputs.front());
    bed_->outputs.clear();
    return output;
  }

  bool open_live_flows() {
    for (std::size_t i = 0; i < live_flow_count; ++i) {
      const bool is_v6 = i % 4 == 1, is_udp = i % 4 == 2, is_nat = i % 4 == 3;
      const std::string kind = is_udp ? "udp" : "tcp";
      const std::string client = is_v6 ? "2001:db8:5::" + std::to_string(i + 1) : "203.0.113." + std::to_string(i + 1);
      const std::string vip = is_v6 ? "fd00:9::1" : is_nat ? "10.9.0.2" : "10.9.0.1";
      trace::PacketText text = segment(kind, client, 10'000 + i, vip, is_udp ? 53 : 80);
      const MacAddress gateway = bed_->mac_of(*IpAddress::parse(is_v6 ? "fd00:1::fe" : "10.1.0.254"));
      LiveFlow flow;
      flow.lcore = static_cast<std::uint32_t>(i % 2);
      if (!is_udp) text.flags = {"syn"};
      if (is_nat) flow.lcore = 0;  // wherever it arrives, its owner is found
      const auto opened = send(flow.lcore, frame(text, gateway, bed_->port_mac(0)), 0);
      if (!opened) return false;
      const trace::PacketText there = trace::read_frame(opened->frame);
      trace::PacketText answer = segment(kind, there.destination, std::stoull(there.destination_port), there.source, std::stoull(there.source_port));
      const MacAddress endpoint = bed_->mac_of(*IpAddress::parse(there.destination));
      if (!is_udp) answer.flags = {"syn", "ack"};
      const auto answered = send(flow.lcore, frame(answer, endpoint, bed_->port_mac(1)), 1);
      if (!answered) return false;
      text.options["len"] = answer.options["len"] = "100";
      text.options["seq"] = answer.options["seq"] = "1001";
      if (!is_udp) text.flags = answer.flags = {"ack"};
      flow.to_vip = frame(text, gateway, bed_->port_mac(0));
      flow.to_snat = frame(answer, endpoint, bed_->port_mac(1));
      flow.at_endpoint = tuple_of(opened->frame);
      flow.at_client = tuple_of(answered->frame);
      flows_.push_back(std::move(flow));
    }
    talk();
    return report_.live_wrong == 0 && report_.faults.empty();
  }

  // Every live flow says something in both directions.
  void talk() {
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      const LiveFlow& flow = flows_[i];
      const bool is_udp = i % 4 == 2;
      for (const bool is_reply : {false, true}) {
        // TCP segments and replies find their flow from any lcore; a UDP packet on another one would open a flow there.
        const std::uint32_t lcore = is_udp && !is_reply ? flow.lcore : static_cast<std::uint32_t>(below(2));
        const auto output = send(lcore, is_reply ? flow.to_snat : flow.to_vip, is_reply ? 1 : 0);
        ++report_.live_packets;
        if (!output || tuple_of(output->frame) != (is_reply ? flow.at_client : flow.at_endpoint)) {
          ++report_.live_wrong;
          if (report_.faults.size() < faults_max) {
            report_.faults.push_back(fmt::format("live flow {}: {} came out as {}", i,
                                                 trace::read_frame(is_reply ? flow.to_snat : flow.to_vip).text(),
                                                 output ? trace::read_frame(output->frame).text() : "nothing"));
          }
        }
      }
    }
  }

  void blow() {
    const auto lcore = static_cast<std::uint32_t>(below(2));
    std::vector<Input> inputs;
    const std::uint64_t size = 1 + below(burst_count_max);
    for (std::uint64_t i = 0; i < size; ++i) {
      inputs.push_back({spoilt(lcore), static_cast<std::uint16_t>(one_in(3) ? 1 : 0)});
      if (inputs.back().frame[0] == std::byte{2}) inputs.back().frame[5] = static_cast<std::byte>(inputs.back().port + 1);
    }
    report_.packets += inputs.size();
    bed_->receive(lcore, inputs);
    bed_->outputs.clear();
    if (one_in(8)) bed_->advance(1 + below(3));
    bed_->outputs.clear();
    collect_faults();
  }

  // Mostly one that was written before: to write a packet takes longer than to forward a hundred. Each lcore has a stock of its
  // own, for a datagram that comes to both opens a flow on both.
  const Bytes& sound(std::uint32_t lcore) {
    std::vector<Bytes>& stock = stocks_[lcore];
    if (stock.size() < stock_count) return stock.emplace_back(written());
    Bytes& picked = stock[below(stock_count)];
    if (one_in(uses_usual)) picked = written();
    return picked;
  }

  // Something sensible, from hosts that are none of the live flows'.
  Bytes written() {
    const bool is_v4 = !one_in(3);
    const std::string client = is_v4 ? fmt::format("198.18.{}.{}", below(256), below(256)) : fmt::format("2001:db8:{:x}::1", 0x100 + below(0xff00));
    const char* const destinations4[] = {"10.9.0.1", "10.9.0.1", "10.9.0.2", "10.2.0.100", "10.1.0.1", "10.2.0.1", "192.0.2.99", "10.2.0.11"};
    const char* const destinations6[] = {"fd00:9::1", "fd00:9::1", "fd00:2::100", "fd00:1::1", "2001:db8:9::9", "ff02::1"};
    const std::string destination = is_v4 ? destinations4[below(std::size(destinations4))] : destinations6[below(std::size(destinations6))];
    trace::PacketText text;
    switch (below(10)) {
      case 0: {
        text.kind = "arp";
        text.flags = {one_in(2) ? "request" : "reply"};
        text.options["sender"] = "192.168.77.77";
        text.options["target"] = one_in(2) ? "10.9.0.1" : "10.1.0.1";
        return frame(text, stranger_mac, bed_->port_mac(0));
      }
      case 1: {
        text.kind = "nd";
        text.flags = {one_in(2) ? "solicit" : "advertise"};
        text.options["target"] = text.flags.contains("solicit") && one_in(2) ? "fd00:9::1" : "fd00:77::77";
        text.options["sender"] = text.flags.contains("solicit") ? "fd00:77::78" : "fd00:1::1";
        return frame(text, stranger_mac, bed_->port_mac(0));
      }
      case 2: text = segment("icmp", client, 0, destination, 0); text.flags = {"echo"}; break;
      case 3: text = segment("proto", client, 0, destination, 0); text.options["proto"] = std::to_string(below(256)); break;
      case 4:
      case 5: text = segment("udp", client, below(65'536), destination, one_in(2) ? 53 : below(65'536)); break;
      default: {
        text = segment("tcp", client, below(65'536), destination, one_in(2) ? 80 : below(65'536));
        const char* const flags[] = {"syn", "syn", "ack", "rst", "fin", "psh", "urg"};
        for (std::uint64_t i = 1 + below(3); i > 0; --i) text.flags.insert(flags[below(std::size(flags))]);
        if (one_in(2)) text.flags = {"syn"};
        if (one_in(4)) text.options["tcpopts"] = std::to_string(4 * below(11));
        break;
      }
    }
    text.options["len"] = std::to_string(one_in(8) ? below(1'400) : below(64));
    if (options_.spoils_l3) {
      if (is_v4 && one_in(6)) text.options["opts"] = std::to_string(4 * below(11));
      if (is_v4 && one_in(12)) text.options["frag"] = std::to_string(below(65'536));
      if (!is_v4 && one_in(4)) {
        const char* const chains[] = {"0", "60", "43", "0/60", "0/43/60", "44", "60/44", "0/0/0/0/0/0/0/0/0", "43/43"};
        text.options["ext"] = chains[below(std::size(chains))];
        if (one_in(4)) text.options["extlen"] = std::to_string(below(40));
        if (one_in(4)) text.options["exthead"] = std::to_string(below(65'536));
      }
      if (one_in(10)) text.options["ttl"] = std::to_string(below(256));
    }
    return frame(text, outside_mac, bed_->port_mac(0));
  }

  void scribble(Bytes& bytes, std::size_t first, std::size_t end) {
    end = std::min(end, bytes.size());
    if (first >= end) return;
    for (std::uint64_t i = 1 + below(3); i > 0; --i) {
      const std::size_t at = first + below(end - first);
      switch (below(4)) {
        case 0: bytes[at] ^= static_cast<std::byte>(1u << below(8)); break;
        case 1: bytes[at] = std::byte{0}; break;
        case 2: bytes[at] = std::byte{0xff}; break;
        default: bytes[at] = static_cast<std::byte>(random_()); break;
      }
    }
  }

  Bytes spoilt(std::uint32_t lcore) {
    Bytes bytes = sound(lcore);
    const bool is_v4 = bytes.size() > 12 && bytes[12] == std::byte{0x08};
    const std::size_t l4 = is_v4 ? 34 : 54;
    if (options_.spoils_l4 && one_in(3)) scribble(bytes, l4, l4 + 20);
    if (options_.spoils_l3 && one_in(3)) scribble(bytes, 14, l4);
    if (one_in(2)) trace::fix_checksums(bytes);
    if (options_.spoils_l2) {
      if (one_in(12)) scribble(bytes, 0, 14);
      if (one_in(12)) bytes.resize(below(bytes.size() + 1));
      if (one_in(24)) bytes.resize(bytes.size() + below(64));
      if (one_in(64)) {
        bytes.resize(below(256));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
      }
    }
    if (bytes.empty()) bytes.resize(1);
    return bytes;
  }

  void collect_faults() {
    for (std::string& fault : bed_->take_faults()) {
      if (report_.faults.size() < faults_max) report_.faults.push_back(std::move(fault));
    }
  }

  StormOptions options_;
  std::mt19937_64 random_;
  std::unique_ptr<Bed> bed_;
  std::vector<LiveFlow> flows_;
  std::array<std::vector<Bytes>, 2> stocks_;  // by lcore
  StormReport report_;
};

}  // namespace

Result<StormReport> run_storm(const StormOptions& options) { return Storm(options).run(); }

}  // namespace sluice
