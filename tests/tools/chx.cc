// chx: a TCP client below the kernel's stack that sends exactly the segments it is told to: a ClientHello cut, reordered,
// repeated, overlapping, contradicting itself, or never complete. Thousands of connections in one run, `--at-once` of them at
// a time, one after the other through the same handshake.
//
// The plan is a file of JSON lines. One says what bytes there are:
//   {"blobs": ["160301...", ...]}                               hexadecimal
// and each other line is a connection:
//   {"id": "cut at 17", "port": 2017,                            own port; each is used once
//    "steps": [[0, 17], [17, 500], ...],                         segments: offset and length in blob 0, or in [.., .., blob]
//              also "ack" (nothing but an acknowledgment), "fin", "rst", {"wait_ms": 20}
//    "expect": {"server": "web-1", "echo": [[0, 517], ...]}}     what `answer --echo` says: its name and a newline, and all
//              it received; pieces as in steps, or hexadecimal text. Or "reset": the connection is refused with a reset;
//              "alert": a TLS alert and then the reset; "silence": neither within the time.
//   optional: "isn", "mss" (1460), "options" ("sack timestamps scaling", or fewer), "greet" (true: acknowledge the SYN-ACK
//             before the first step), "timeout_ms" (3000)
// The kernel's own TCP must not hear the answers: it would reset what it does not know (see Site.chx).
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <unordered_map>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"
#include "tests/tools/frames.h"

namespace sluice::tools::chx {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t syn_again_us = 300'000;
constexpr unsigned syns_max = 5;
constexpr unsigned burst_max = 64;
constexpr std::uint8_t own_window_scale = 7;

struct Options {
  std::string interface, gateway_mac, connect, source, plan;
  unsigned at_once = 64;
  bool verbose = false;
};

struct Step {
  enum class Kind : std::uint8_t { segment, ack, fin, rst, wait } kind = Kind::segment;
  std::size_t offset = 0, length = 0, blob = 0;
  unsigned wait_ms = 0;
};

struct Case {
  std::string id;
  std::uint16_t port = 0;
  std::vector<Step> steps;
  std::string outcome;  // "answer", "reset", "alert", "silence"
  Bytes answer;
  std::uint32_t isn = 0;
  std::uint16_t mss = 1460;
  bool has_sack = true, has_timestamps = true, has_scaling = true;
  bool greets = true;
  unsigned timeout_ms = 3000;
};

Bytes from_hex(const std::string& text) {
  if (text.size() % 2 != 0) die("hexadecimal text of odd length");
  Bytes bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

class Plan {
 public:
  explicit Plan(const std::string& path) {
    std::ifstream file(path);
    if (!file) die(path + ": cannot be read");
    std::random_device random;
    for (std::string line; std::getline(file, line);) {
      const Json json = Json::parse(line);
      if (json.contains("blobs")) {
        for (const Json& blob : json["blobs"]) blobs_.push_back(from_hex(blob));
      } else {
        cases_.push_back(read_case(json, random()));
      }
    }
  }

  const std::vector<Case>& cases() const { return cases_; }
  std::span<const std::uint8_t> bytes_of(const Step& step) const {
    if (step.blob >= blobs_.size() || step.offset + step.length > blobs_[step.blob].size()) die("a step beyond the end of its blob");
    return std::span(blobs_[step.blob]).subspan(step.offset, step.length);
  }

 private:
  Step read_piece(const Json& json) const {
    return {.offset = json.at(0), .length = json.at(1), .blob = json.size() > 2 ? json.at(2).get<std::size_t>() : 0};
  }

  Step read_step(const Json& json) const {
    if (json.is_array()) return read_piece(json);
    if (json.is_object()) return {.kind = Step::Kind::wait, .wait_ms = json.at("wait_ms")};
    if (json == "ack") return {.kind = Step::Kind::ack};
    if (json == "fin") return {.kind = Step::Kind::fin};
    if (json == "rst") return {.kind = Step::Kind::rst};
    die("a step that is none: " + json.dump());
  }

  Case read_case(const Json& json, std::uint32_t random) const {
    Case made;
    made.id = json.at("id");
    made.port = json.at("port");
    for (const Json& step : json.at("steps")) made.steps.push_back(read_step(step));
    const Json& expect = json.at("expect");
    made.outcome = expect.is_string() ? expect.get<std::string>() : "answer";
    if (expect.is_object()) {
      const std::string name = expect.at("server").get<std::string>() + "\n";
      made.answer.assign(name.begin(), name.end());
      for (const Json& piece : expect.at("echo")) {
        const Bytes literal = piece.is_string() ? from_hex(piece) : Bytes();
        const auto bytes = piece.is_string() ? std::span<const std::uint8_t>(literal) : bytes_of(read_piece(piece));
        made.answer.insert(made.answer.end(), bytes.begin(), bytes.end());
      }
    }
    made.isn = json.value("isn", random);
    made.mss = json.value("mss", made.mss);
    const std::string options = json.value("options", "sack timestamps scaling");
    made.has_sack = options.find("sack") != std::string::npos;
    made.has_timestamps = options.find("timestamps") != std::string::npos;
    made.has_scaling = options.find("scaling") != std::string::npos;
    made.greets = json.value("greet", true);
    made.timeout_ms = json.value("timeout_ms", made.timeout_ms);
    return made;
  }

  std::vector<Bytes> blobs_;
  std::vector<Case> cases_;
};

// One of them on its way.
class Connection {
 public:
  Connection(const Plan& plan, const Case& its, RawPort& port, const Link& link, Tuple tuple)
      : plan_(plan), case_(its), port_(port), link_(link), tuple_(tuple), began_us_(now_us()) {
    tuple_.source_port = its.port;
    send_syn(began_us_);
  }

  bool is_over() const { return !outcome_.empty(); }
  bool is_right() const { return outcome_ == case_.outcome; }

  void hear(const Segment& heard, std::uint64_t now) {
    if (is_over()) return;
    if ((heard.flags & flag::rst) != 0) return hear_reset(now);
    read_timestamp(heard.options);
    if ((heard.flags & flag::syn) != 0) return hear_syn_ack(heard, now);
    if (!is_open_) return;
    peer_acknowledged_ = heard.acknowledgment;
    if (!heard.payload.empty()) take(heard);
    if ((heard.flags & flag::fin) != 0 && heard.sequence + heard.payload.size() == receive_next_) {
      ++receive_next_;
      end("closed", now);
    } else if (case_.outcome == "answer" && received_.size() >= case_.answer.size()) {
      end(received_ == case_.answer ? "answer" : "wrong bytes", now);
    } else if (!heard.payload.empty()) {
      send(flag::ack, next_, {});
    }
  }

  // What the clock asks for.
  void tick(std::uint64_t now) {
    if (is_over()) return;
    if (now - began_us_ >= std::uint64_t{case_.timeout_ms} * 1000) return end("silence", now);
    if (!is_open_) {
      if (now - syn_us_ >= syn_again_us && syns_ < syns_max) send_syn(now);
      return;
    }
    take_steps(now);
  }

  Json report() const {
    const std::size_t equal = static_cast<std::size_t>(
        std::mismatch(received_.begin(), received_.end(), case_.answer.begin(), case_.answer.end()).first - received_.begin());
    return {{"event", "case"},     {"id", case_.id},       {"port", case_.port},
            {"expected", case_.outcome}, {"outcome", outcome_}, {"right", is_right()},
            {"received", received_.size()}, {"of", case_.answer.size()}, {"equal", equal},
            {"acknowledged", peer_acknowledged_ - case_.isn - 1}, {"us", ended_us_ - opened_us_}, {"syns", syns_}};
  }
  std::uint64_t us_since_open() const { return ended_us_ - opened_us_; }
  unsigned syns() const { return syns_; }

 private:
  void send_syn(std::uint64_t now) {
    syn_us_ = now;
    ++syns_;
    next_ = case_.isn;
    send(flag::syn, next_, {});
    next_ = case_.isn + 1;
  }

  void hear_syn_ack(const Segment& heard, std::uint64_t now) {
    if (heard.acknowledgment != case_.isn + 1 || is_open_) return;
    is_open_ = true;
    opened_us_ = now;
    receive_next_ = heard.sequence + 1;
    peer_acknowledged_ = heard.acknowledgment;
    if (case_.greets) send(flag::ack, next_, {});
    take_steps(now);
  }

  void hear_reset(std::uint64_t now) {
    const bool is_alert = received_.size() == 7 && received_[0] == 21;  // a TLS record with a fatal alert in it
    end(is_alert ? "alert" : "reset", now);
  }

  // In order only: what comes early is sent again by its sender.
  void take(const Segment& heard) {
    const auto known = static_cast<std::int32_t>(receive_next_ - heard.sequence);
    if (known < 0 || static_cast<std::size_t>(known) >= heard.payload.size()) return;
    const auto fresh = heard.payload.subspan(static_cast<std::size_t>(known));
    received_.insert(received_.end(), fresh.begin(), fresh.end());
    receive_next_ += static_cast<std::uint32_t>(fresh.size());
  }

  void take_steps(std::uint64_t now) {
    for (; step_ < case_.steps.size() && now >= resume_us_ && !is_over(); ++step_) {
      const Step& step = case_.steps[step_];
      switch (step.kind) {
        case Step::Kind::wait: resume_us_ = now + step.wait_ms * 1000; break;
        case Step::Kind::ack: send(flag::ack, next_, {}); break;
        case Step::Kind::fin: send(flag::fin | flag::ack, next_++, {}); break;
        case Step::Kind::rst: send(flag::rst, next_, {}); break;
        case Step::Kind::segment: {
          const std::uint32_t first = case_.isn + 1 + static_cast<std::uint32_t>(step.offset);
          const auto end = first + static_cast<std::uint32_t>(step.length);
          if (static_cast<std::int32_t>(end - next_) > 0) next_ = end;
          send(flag::ack | flag::psh, first, plan_.bytes_of(step));
        }
      }
    }
  }

  void end(const char* outcome, std::uint64_t now) {
    outcome_ = outcome;
    ended_us_ = now;
    // The exact number that the other side waits for: any other is a stray to it.
    if (is_open_ && outcome_ != "reset" && outcome_ != "alert") send(flag::rst | flag::ack, peer_acknowledged_, {});
  }

  void send(std::uint8_t flags, std::uint32_t sequence, std::span<const std::uint8_t> payload) {
    std::array<std::uint8_t, 24> options;
    Segment segment;
    segment.sequence = sequence;
    segment.acknowledgment = (flags & flag::ack) != 0 ? receive_next_ : 0;
    segment.flags = flags;
    segment.window = 32768;
    segment.options = std::span(options).first(write_options((flags & flag::syn) != 0, options));
    segment.payload = payload;
    std::uint8_t frame[frame_bytes_max];
    if (payload.size() + segment.options.size() + (tuple_.is_v6 ? 74 : 54) > sizeof frame) die(case_.id + ": a segment too long for a frame");
    const std::size_t bytes = write_tcp(frame, link_, tuple_, segment);
    port_.send({frame, bytes});
    port_.flush();  // the frame is ours only until here
  }

  // Padded to words with no-operations.
  std::size_t write_options(bool is_syn, std::array<std::uint8_t, 24>& out) const {
    std::size_t bytes = 0;
    const auto put = [&](std::initializer_list<unsigned> values) {
      for (const unsigned value : values) out[bytes++] = static_cast<std::uint8_t>(value);
    };
    const unsigned mss = case_.mss;
    if (is_syn) put({2, 4, mss >> 8, mss & 0xff});
    if (is_syn && case_.has_sack) put({1, 1, 4, 2});
    if (case_.has_timestamps && (is_syn || peer_has_timestamps_)) {
      const auto clock = static_cast<std::uint32_t>(now_us() / 1000);
      put({1, 1, 8, 10, clock >> 24, clock >> 16 & 0xff, clock >> 8 & 0xff, clock & 0xff, peer_timestamp_ >> 24,
           peer_timestamp_ >> 16 & 0xff, peer_timestamp_ >> 8 & 0xff, peer_timestamp_ & 0xff});
    }
    if (is_syn && case_.has_scaling) put({1, 3, 3, own_window_scale});
    return bytes;
  }

  void read_timestamp(std::span<const std::uint8_t> options) {
    for (std::size_t at = 0; at < options.size() && options[at] != 0;) {
      if (options[at] == 1) {
        ++at;
        continue;
      }
      if (at + 1 >= options.size() || options[at + 1] < 2 || at + options[at + 1] > options.size()) return;
      if (options[at] == 8 && options[at + 1] == 10) {
        peer_has_timestamps_ = true;
        peer_timestamp_ = 0;
        for (std::size_t i = 2; i < 6; ++i) peer_timestamp_ = peer_timestamp_ << 8 | options[at + i];
      }
      at += options[at + 1];
    }
  }

  const Plan& plan_;
  const Case& case_;
  RawPort& port_;
  const Link& link_;
  Tuple tuple_;
  bool is_open_ = false, peer_has_timestamps_ = false;
  std::uint32_t next_ = 0, receive_next_ = 0, peer_acknowledged_ = 0, peer_timestamp_ = 0;
  std::size_t step_ = 0;
  unsigned syns_ = 0;
  std::uint64_t began_us_, opened_us_ = 0, ended_us_ = 0, syn_us_ = 0, resume_us_ = 0;
  Bytes received_;
  std::string outcome_;
};

class Chx {
 public:
  explicit Chx(const Options& options)
      : options_(options), plan_(options.plan), port_(options.interface, 16384), link_{port_.mac(), parse_mac(options.gateway_mac)} {
    set_address(tuple_, parse_address_port(options.connect), false);
    const std::vector<Address> sources = parse_sources(options.source);
    if (sources.size() != 1) die("--source is one address");
    set_address(tuple_, sources.front(), true);
  }

  int run() {
    const std::uint64_t began_us = now_us();
    std::size_t next = 0;
    while ((next < plan_.cases().size() || !open_.empty()) && !stop_requested()) {
      for (; next < plan_.cases().size() && open_.size() < options_.at_once; ++next) start(plan_.cases()[next]);
      if (receive() == 0) {
        pollfd port{port_.fd(), POLLIN, 0};
        poll(&port, 1, 1);
      }
      clear();
    }
    print_line({{"event", "result"},
                {"cases", plan_.cases().size()},
                {"right", right_},
                {"wrong", wrong_},
                {"outcomes", count_map(outcomes_)},
                {"syns_again", syns_again_},
                {"since_open_us", latencies_.percentiles()},
                {"send_failed", port_.send_failed()},
                {"ring_full", port_.ring_full()},
                {"seconds", static_cast<double>(now_us() - began_us) / 1e6}});
    return 0;
  }

 private:
  void start(const Case& its) {
    if (!open_.emplace(its.port, std::make_unique<Connection>(plan_, its, port_, link_, tuple_)).second) die(its.id + ": its port is in use");
  }

  unsigned receive() {
    const std::uint64_t now = now_us();
    const unsigned count = port_.receive(burst_max, [&](std::span<std::uint8_t> frame) {
      const auto heard = read_tcp(frame);
      if (!heard) return;
      const auto found = open_.find(heard->tuple.destination_port);
      Tuple expected = tuple_;
      expected.source_port = heard->tuple.destination_port;
      if (found != open_.end() && heard->tuple == expected.reversed()) found->second->hear(heard->segment, now);
    });
    port_.release();
    return count;
  }

  void clear() {
    const std::uint64_t now = now_us();
    for (auto at = open_.begin(); at != open_.end();) {
      Connection& connection = *at->second;
      connection.tick(now);
      if (!connection.is_over()) {
        ++at;
        continue;
      }
      count(connection);
      at = open_.erase(at);
    }
  }

  void count(const Connection& connection) {
    const Json report = connection.report();
    ++(connection.is_right() ? right_ : wrong_);
    ++outcomes_[report.at("outcome")];
    syns_again_ += connection.syns() - 1;
    latencies_.add(connection.us_since_open());
    if (options_.verbose || !connection.is_right()) print_line(report);
  }

  Options options_;
  Plan plan_;
  RawPort port_;
  Link link_;
  Tuple tuple_;
  std::unordered_map<std::uint16_t, std::unique_ptr<Connection>> open_;
  std::map<std::string, std::uint64_t> outcomes_;
  std::uint64_t right_ = 0, wrong_ = 0, syns_again_ = 0;
  Latencies latencies_;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  sluice::CommandLine command{"Open TCP connections with segments of one's own making, and compare what comes back."};
  command.add("--interface", options.interface, "to send and receive on").required();
  command.add("--gateway-mac", options.gateway_mac, "hardware address of the next hop").required();
  command.add("--connect", options.connect, "ADDRESS:PORT").required();
  command.add("--source", options.source, "own address").required();
  command.add("--plan", options.plan, "what to send and expect: JSON lines, see the head of chx.cc").required();
  command.add("--at-once", options.at_once, "connections open at a time");
  command.add("--verbose", options.verbose, "print every case, not only the wrong ones");
  if (const auto status = command.parse(argc, argv)) return *status;
  install_signal_handlers();
  return Chx(options).run();
}

}  // namespace sluice::tools::chx
