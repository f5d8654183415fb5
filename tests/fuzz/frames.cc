// libFuzzer: packets through the whole pipeline, several an input, with time between them. The bench (../traces/bed.h) checks
// each frame that leaves against the one that came, the ledger and the flows; each buffer ends with its frame.
//
// An input is a list of steps:
//   raw       bytes as a frame
//   sample    one of the sound packets of scene.h, with up to seven bytes changed, cut or lengthened
//   answer    what left lately goes back, as the other end would answer it, with other flags or a payload
//   burst     the next packets come in one burst
//   wait      some milliseconds, or seconds
//   change    other tables: endpoints down, draining, gone; a VIP gone
#include <algorithm>
#include <deque>

#include "tests/fuzz/scene.h"
#include "tests/traces/hello_text.h"

namespace {

using namespace sluice;
using fuzz::require;
using trace::Bytes;
using trace::Input;

constexpr std::uint64_t waited_ms_max = 20'000, leap_ms = 700'000;
constexpr int leaps_max = 8;
constexpr int inputs_max = 500;  // of one bench
constexpr int changes_max = 2;
constexpr std::uint32_t lcores = 2;

std::vector<trace::Model> variants() {
  const auto with = [](std::initializer_list<const char*> lines) {
    trace::Model model = fuzz::scene();
    for (const char* line : lines) require(model.change(trace::words_of(line)).has_value(), line);
    return model;
  };
  return {with({}), with({"cluster web endpoint 10.2.0.11:8080 down", "cluster dns endpoint 10.2.0.13:53 drain", "cluster tls endpoint 10.2.0.18:8443 down"}),
          with({"vip 10.9.0.1:80/tcp remove", "vip 10.9.0.4:80/tcp remove", "cluster gue endpoint [fd00:2::17]:80 remove"}),
          with({"block 203.0.113.0/24"})};
}

const std::vector<Input>& sound() {
  static const std::vector<Input> frames = [] { return fuzz::sample_frames(**trace::Bed::create(fuzz::scene())); }();
  return frames;
}

class Run {
 public:
  Run(std::span<const std::uint8_t> input, const std::vector<trace::Model>& models, trace::Bed& bed)
      : script_(input), models_(models), bed_(&bed), samples_(sound()) {}

  void run() {
    while (!script_.is_over()) {
      step();
      collect();
    }
    flush();
    bed_->check_flows();
    collect();
    // Nothing lasts for ever, and nothing waits for ever: neither for a next hop nor for the rest of a datagram.
    for (int leaps = 0; held() > 0 || bed_->flow_count() > 0; ++leaps) {
      require(leaps < leaps_max, "flows or packets are kept for ever");
      bed_->leap(leap_ms);
      collect();
    }
    if (changes_ > 0) require(bed_->publish(models_[0]).has_value(), "not published");
  }

 private:
  std::size_t held() {
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < bed_->lcore_count(); ++i) count += bed_->world(i).neighbors.held_count() + bed_->world(i).fragments.held_count();
    return count;
  }

  void step() {
    const std::uint8_t what = script_.byte();
    lcore_ = what >> 3 & 1;
    switch (what & 7) {
      case 0: return raw(what);
      case 1:
      case 2:
      case 3: return sample(what);
      case 4:
      case 5: return answer(what);
      case 6: {
        flush();
        if ((what & 0x80) != 0) {
          wanted_ = 1 + (what >> 4 & 7);
          return;
        }
        constexpr std::uint64_t waits[] = {1, 10, 25, 100, 250, 600, 1'500, 3'500};
        const std::uint64_t ms = waits[what >> 4 & 7];
        if (waited_ms_ + ms <= waited_ms_max) bed_->advance(ms);
        waited_ms_ += ms;
        return;
      }
      default:
        flush();
        if (++changes_ > changes_max) return;
        require(bed_->publish(models_[(what >> 4) % models_.size()]).has_value(), "not published");
    }
  }

  void raw(std::uint8_t what) {
    constexpr std::uint16_t ports[] = {0, 1, 2, exception_port};
    const std::uint16_t port = ports[what >> 4 & 3];
    const auto taken = script_.take(1 + script_.byte());
    Bytes frame(taken.size());
    std::transform(taken.begin(), taken.end(), frame.begin(), [](std::uint8_t byte) { return static_cast<std::byte>(byte); });
    if (frame.empty()) frame.resize(1);
    if ((what & 0x40) != 0) take_to(frame, port);
    if ((what & 0x80) != 0) trace::fix_checksums(frame);
    give({std::move(frame), port});
  }

  void sample(std::uint8_t what) {
    Input input = samples_[script_.byte() % samples_.size()];
    edit(input.frame, what >> 4 & 7);
    if ((what & 0x80) == 0) trace::fix_checksums(input.frame);
    give(std::move(input));
  }

  // 14 bytes of Ethernet are rarely worth it: a place of 0 to 241 is behind them.
  void edit(Bytes& frame, unsigned count) {
    for (; count > 0; --count) {
      const std::uint8_t place = script_.byte(), value = script_.byte();
      if (place == 255) frame.resize(1 + value % frame.size());
      else if (place == 254) frame.resize(frame.size() + value);
      else if (place > 241) frame[(place - 242u) % frame.size()] ^= static_cast<std::byte>(value);
      else if (place + 14u < frame.size()) frame[place + 14u] ^= static_cast<std::byte>(value);
    }
  }

  void take_to(Bytes& frame, std::uint16_t port) {
    const MacAddress mac = bed_->port_mac(port);
    for (std::size_t i = 0; i < 6 && i < frame.size(); ++i) frame[i] = static_cast<std::byte>(mac.bytes[i]);
    for (std::size_t i = 6; i < 12 && i < frame.size(); ++i) frame[i] = static_cast<std::byte>(i == 6 ? 2 : i);
  }

  void answer(std::uint8_t what) {
    flush();
    const std::uint8_t which = script_.byte(), flags = script_.byte(), more = script_.byte();
    if (left_.empty()) return;
    const trace::Output& output = left_[left_.size() - 1 - which % left_.size()];
    Bytes frame = output.frame;
    std::swap_ranges(frame.begin(), frame.begin() + 6, frame.begin() + 6);
    const bool is_v4 = frame[12] == std::byte{0x08};
    const std::size_t addresses = is_v4 ? 26 : 22, width = is_v4 ? 4 : 16, l4 = is_v4 ? 34 : 54;
    if (frame.size() < l4 + 8) return;
    std::swap_ranges(frame.begin() + static_cast<long>(addresses), frame.begin() + static_cast<long>(addresses + width),
                     frame.begin() + static_cast<long>(addresses + width));
    std::swap_ranges(frame.begin() + static_cast<long>(l4), frame.begin() + static_cast<long>(l4 + 2), frame.begin() + static_cast<long>(l4 + 2));
    if (frame[is_v4 ? 23 : 20] == std::byte{6} && frame.size() >= l4 + 20) answer_tcp(frame, l4, is_v4, flags, more);
    edit(frame, what >> 4 & 3);
    if ((what & 0x80) == 0) trace::fix_checksums(frame);
    give({std::move(frame), output.port});
  }

  static Bytes proxied_hello() {
    return *trace::payload_of(*trace::PacketText::parse(trace::words_of("10.0.0.1:1 > 10.0.0.2:1 tcp proxied=v2,192.0.2.9:4000,192.0.2.1:443 hello=a.example")));
  }

  void answer_tcp(Bytes& frame, std::size_t l4, bool is_v4, std::uint8_t flags, std::uint8_t more) {
    const auto number = [&](std::size_t at) {
      std::uint32_t value = 0;
      for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint32_t>(frame[at + i]);
      return value;
    };
    const auto write = [&](std::size_t at, std::uint32_t value) {
      for (std::size_t i = 0; i < 4; ++i) frame[at + i] = static_cast<std::byte>(value >> (24 - 8 * i));
    };
    const std::size_t header = (static_cast<std::size_t>(frame[l4 + 12]) >> 4) * 4;
    const std::size_t payload = frame.size() > l4 + header ? frame.size() - l4 - header : 0;
    const std::uint32_t sequence = number(l4 + 4), acknowledgment = number(l4 + 8);
    const bool was_syn = (frame[l4 + 13] & std::byte{2}) != std::byte{0};
    write(l4 + 4, acknowledgment == 0 ? 900 : acknowledgment);
    write(l4 + 8, static_cast<std::uint32_t>(sequence + payload + was_syn));
    constexpr std::uint8_t usual[] = {0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x02, 0x10};
    frame[l4 + 13] = static_cast<std::byte>((flags & 0x80) != 0 ? flags & 0x3f : usual[flags & 7]);
    frame.resize(std::min(frame.size(), l4 + header));
    Bytes extra;
    switch (more & 7) {
      case 1: extra = trace::build_hello({.name = "a.example"}); break;
      case 2: extra = trace::build_hello({.name = "x.b.example", .key_share_bytes = 600}); break;
      case 3: extra.resize(more >> 3, std::byte{'x'}); break;
      case 5: extra = proxied_hello(); break;
      case 4: for (const std::uint8_t byte : script_.take(more >> 3)) extra.push_back(static_cast<std::byte>(byte)); break;
      default: break;
    }
    if ((more & 0x80) != 0) extra.resize(extra.size() / 2);
    frame.insert(frame.end(), extra.begin(), extra.end());
    const std::size_t length = frame.size() - (is_v4 ? 14 : 54), at = is_v4 ? 16 : 18;
    frame[at] = static_cast<std::byte>(length >> 8);
    frame[at + 1] = static_cast<std::byte>(length);
  }

  void give(Input input) {
    // A flow always comes to the same lcore, as RSS has it; what is no flow's, anywhere.
    const trace::PacketText text = trace::read_frame(input.frame);
    const auto client = std::hash<std::string>()(text.source + " " + text.source_port);
    bursts_[text.source_port.empty() ? lcore_ : client % lcores].push_back(std::move(input));
    if (++given_ >= wanted_) flush();
  }

  void flush() {
    wanted_ = 1;
    given_ = 0;
    for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
      if (bursts_[lcore].empty()) continue;
      for (const trace::Fate& fate : bed_->receive(lcore, bursts_[lcore])) {
        require(!fate.empty() && fate.back() != Verdict::undecided && fate.back() != Verdict::handoff, "a packet without a verdict");
        require(std::count(fate.begin(), fate.end(), Verdict::handoff) + 1 == static_cast<long>(fate.size()), "a packet with two verdicts");
        require(!name_of(fate.back()).empty(), "a verdict without a name");
      }
      bursts_[lcore].clear();
      collect();
    }
  }

  void collect() {
    for (trace::Output& output : bed_->outputs) left_.push_back(std::move(output));
    bed_->outputs.clear();
    while (left_.size() > 8) left_.pop_front();
    const auto faults = bed_->take_faults();
    require(faults.empty(), faults.empty() ? "" : faults.front());
  }

  fuzz::Script script_;
  const std::vector<trace::Model>& models_;
  trace::Bed* bed_;
  const std::vector<Input>& samples_;
  std::array<std::vector<Input>, lcores> bursts_;
  std::deque<trace::Output> left_;
  std::size_t wanted_ = 1, given_ = 0;
  std::uint32_t lcore_ = 0;
  std::uint64_t waited_ms_ = 0;
  int changes_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const std::vector<trace::Model> models = variants();
  // Made anew now and then: to make one takes as long as some dozen inputs. Between them all flows end.
  static std::unique_ptr<trace::Bed> bed;
  static int inputs = 0;
  if (inputs++ % inputs_max == 0) {
    auto made = trace::Bed::create(models[0]);
    require(made.has_value(), made ? "" : made.error().message);
    bed = std::move(*made);
    bed->lcores_may_share_clients = true;
    bed->neighbors_may_move = true;
  }
  Run({data, std::min<std::size_t>(bytes, 2'000)}, models, *bed).run();
  return 0;
}
