// flood: packets of one kind from many made-up sources, as fast as the interface takes them or at a rate.
//
//   syn        a new source, port and sequence number each
//   handshake  the same, and every SYN-ACK that comes back is acknowledged: connections that are open and say nothing
//   ack, rst   segments of no connection
//   udp        datagrams of --size bytes of payload
//   fragment   first fragments of datagrams that never become whole
//   middle     fragments of which the first never comes
// What was sent is counted, not what was asked for: on a shared machine the generator may be what is slow.
#include <poll.h>

#include <cstring>
#include <memory>
#include <random>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"
#include "tests/tools/frames.h"
#include "tests/tools/stream.h"

namespace sluice::tools::flood {
namespace {

constexpr unsigned batch_count = 64;

struct Options {
  std::string interface, gateway_mac, connect, kind = "syn", sources;
  unsigned source_count = 1 << 24;
  double rate = 0;     // packets a second; 0: as fast as it goes
  double seconds = 0;       // 0: until --count or a signal
  std::uint64_t count = 0;  // packets; 0: until --seconds or a signal
  unsigned size = 18;  // of a UDP payload; 60 bytes of frame
  std::uint64_t seed = 0;
};

class Flood {
 public:
  explicit Flood(const Options& options)
      : options_(options),
        port_(options.interface, options.kind == "handshake" ? 16384 : 0),
        link_{port_.mac(), parse_mac(options.gateway_mac)},
        dice_(options.seed) {
    set_address(tuple_, parse_address_port(options.connect), false);
    const std::vector<Address> first = parse_sources(options.sources);
    if (first.size() != 1 || first.front().family() != (tuple_.is_v6 ? AF_INET6 : AF_INET)) {
      die("--sources is the first address, of the family of --connect");
    }
    set_address(tuple_, first.front(), true);
    first_source_ = tuple_.source;
    payload_.resize(std::min<std::size_t>(options.size, 1400));
  }

  void run() {
    const std::uint64_t begin_us = now_us();
    std::uint64_t elapsed_us = 0;
    while (!stop_requested()) {
      elapsed_us = now_us() - begin_us;
      if (options_.seconds > 0 && static_cast<double>(elapsed_us) / 1e6 >= options_.seconds) break;
      if (options_.count > 0 && made_ == options_.count) break;
      answer_handshakes();
      if (options_.rate > 0 && static_cast<double>(made_) > static_cast<double>(elapsed_us) / 1e6 * options_.rate) {
        wait();
      } else {
        send_batch();
      }
      if (take_progress_request()) report("progress", now_us() - begin_us);
    }
    report("result", elapsed_us);
  }

 private:
  void wait() {
    pollfd port{port_.fd(), POLLIN, 0};
    poll(&port, 1, 1);
  }

  void send_batch() {
    const std::uint64_t left = options_.count > 0 ? options_.count - made_ : batch_count;
    for (auto& frame : std::span(frames_).first(std::min<std::uint64_t>(left, batch_count))) {
      port_.send({frame.data(), make(frame.data())});
      ++made_;
    }
    port_.flush();
  }

  std::size_t make(std::uint8_t* frame) {
    const std::uint64_t word = next_random(dice_), other = next_random(dice_);
    tuple_.source = source(word % options_.source_count);
    tuple_.source_port = static_cast<std::uint16_t>(1024 + (word >> 32) % 64512);
    Segment segment{.sequence = static_cast<std::uint32_t>(other), .acknowledgment = static_cast<std::uint32_t>(other >> 32)};
    if (options_.kind == "syn" || options_.kind == "handshake") return write_syn(frame, segment);
    if (options_.kind == "ack" || options_.kind == "rst") {
      segment.flags = options_.kind == "ack" ? flag::ack : flag::rst | flag::ack;
      return write_tcp(frame, link_, tuple_, segment);
    }
    if (options_.kind == "udp") return write_udp(frame, link_, tuple_, payload_);
    const std::uint16_t offset = options_.kind == "middle" ? 800 : 0;
    std::array<std::uint8_t, 80> bytes{};
    const std::uint16_t ports[2] = {htons(tuple_.source_port), htons(tuple_.destination_port)};
    if (offset == 0) std::memcpy(bytes.data(), ports, sizeof ports);
    if (offset == 0) bytes[4] = 8;  // a UDP length of 2,048
    return write_fragment(frame, link_, tuple_, static_cast<std::uint16_t>(other), offset, false, bytes);
  }

  std::size_t write_syn(std::uint8_t* frame, Segment& segment) {
    static constexpr std::uint8_t options[] = {2, 4, 5, 0xb4, 1, 1, 4, 2};  // MSS 1460, SACK
    segment.flags = flag::syn;
    segment.acknowledgment = 0;
    segment.options = options;
    return write_tcp(frame, link_, tuple_, segment);
  }

  // The first address and `number`, as if the last four bytes were one.
  IpBytes source(std::uint64_t number) const {
    IpBytes bytes = first_source_;
    const std::size_t last = tuple_.is_v6 ? 15 : 3;
    std::uint64_t carry = number;
    for (std::size_t i = 0; i < 4; ++i) {
      carry += bytes[last - i];
      bytes[last - i] = static_cast<std::uint8_t>(carry);
      carry >>= 8;
    }
    return bytes;
  }

  void answer_handshakes() {
    if (options_.kind != "handshake") return;
    port_.receive(batch_count, [this](std::span<std::uint8_t> frame) {
      const auto heard = read_tcp(frame);
      if (!heard || (heard->segment.flags & flag::syn) == 0 || heard->tuple.source_port != tuple_.destination_port) return;
      ++syn_acks_;
      Segment segment{.sequence = heard->segment.acknowledgment, .acknowledgment = heard->segment.sequence + 1, .flags = flag::ack};
      std::uint8_t* answer = answers_[answered_++ % batch_count].data();
      port_.send({answer, write_tcp(answer, link_, heard->tuple.reversed(), segment)});
    });
    port_.flush();
    port_.release();
  }

  void report(const char* event, std::uint64_t elapsed_us) {
    const double seconds = static_cast<double>(elapsed_us) / 1e6;
    Json json = {{"event", event},        {"kind", options_.kind},
                 {"sent", port_.sent()},  {"send_failed", port_.send_failed()},
                 {"seconds", seconds},    {"per_second", static_cast<std::uint64_t>(static_cast<double>(port_.sent()) / std::max(seconds, 1e-6))}};
    if (options_.kind == "handshake") json.update({{"syns", made_}, {"syn_acks", syn_acks_}, {"ring_full", port_.ring_full()}});
    print_line(json);
  }

  Options options_;
  RawPort port_;
  Link link_;
  Tuple tuple_;
  IpBytes first_source_{};
  std::uint64_t dice_, made_ = 0, syn_acks_ = 0, answered_ = 0;
  std::vector<std::uint8_t> payload_;
  std::array<std::array<std::uint8_t, frame_bytes_max>, batch_count> frames_, answers_;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  sluice::CommandLine command{"Send packets of one kind from many made-up sources."};
  command.add("--interface", options.interface, "to send on").required();
  command.add("--gateway-mac", options.gateway_mac, "hardware address of the next hop").required();
  command.add("--connect", options.connect, "ADDRESS:PORT").required();
  command.add("--kind", options.kind).one_of({"syn", "handshake", "ack", "rst", "udp", "fragment", "middle"});
  command.add("--sources", options.sources, "first source address").required();
  command.add("--source-count", options.source_count, "how many addresses from there on");
  command.add("--rate", options.rate, "packets a second (default: as fast as it goes)");
  command.add("--seconds", options.seconds, "for so long (default: until a signal)");
  command.add("--count", options.count, "so many packets");
  command.add("--size", options.size, "bytes of UDP payload");
  command.add("--seed", options.seed, "the same seed sends the same packets; default: a new one");
  if (const auto status = command.parse(argc, argv)) return *status;
  if (options.source_count == 0) die("--source-count is 1 or more");
  auto flood = std::make_unique<Flood>(options);
  install_signal_handlers();
  flood->run();
  return 0;
}

}  // namespace sluice::tools::flood
