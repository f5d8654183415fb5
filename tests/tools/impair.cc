// impair: a relay between two interfaces that loses, repeats, reorders, delays and damages what it passes on. The kernel of the
// machines these tests run on has no netem.
//
// A packet meets in this order: the rules, loss, damage, duplication, being set aside (reordering); what is left is sent, after
// `--delay-us`. What is set aside is sent when `overtaken_by` others of its direction have passed, and at the latest after
// `aside_max_us`: it counts as reordered only when others have.
#include <poll.h>
#include <time.h>

#include <cstring>
#include <deque>
#include <memory>
#include <random>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"
#include "tests/tools/drop_rules.h"
#include "tests/tools/raw_port.h"
#include "tests/tools/stream.h"

namespace sluice::tools::impair {
namespace {

constexpr unsigned burst_max = 64;
constexpr unsigned overtaken_by = 3;  // RFC 5681: a fourth acknowledgment for the same byte is a loss to a sender
constexpr std::uint64_t aside_max_us = 5000;
constexpr std::size_t damage_after = 14;  // a damaged Ethernet header is a loss, which --loss has already

struct Options {
  std::string left, right;
  double loss = 0, duplicate = 0, reorder = 0, flip = 0;  // percent of the packets
  unsigned delay_us = 0;
  std::uint64_t seed = 0;
  std::string from = "both";
  std::vector<std::string> drops;
  unsigned ring = 16384;
};

struct Counts {
  std::uint64_t received = 0, lost = 0, dropped_by_rule = 0, flipped = 0, duplicated = 0, set_aside = 0, reordered = 0;
};

struct Waiting {
  std::vector<std::uint8_t> frame;
  std::uint64_t due_us = 0;
  unsigned to_pass = 0;
};

// A share of the packets, decided by the dice.
class Share {
 public:
  explicit Share(double percent) : limit_(percent >= 100 ? UINT64_MAX : static_cast<std::uint64_t>(percent / 100 * 0x1p64)) {}
  bool strikes(std::uint64_t& dice) const { return limit_ != 0 && next_random(dice) < limit_; }

 private:
  std::uint64_t limit_;
};

class Direction {
 public:
  Direction(const Options& options, Side from, RawPort& in, RawPort& out, DropRules& rules)
      : in_(in), out_(out), rules_(rules), from_(from), delay_us_(options.delay_us), dice_(options.seed + static_cast<unsigned>(from)) {
    const bool is_impaired = options.from == "both" || (options.from == "left") == (from == Side::left);
    if (!is_impaired) return;
    loss_ = Share(options.loss);
    duplicate_ = Share(options.duplicate);
    reorder_ = Share(options.reorder);
    flip_ = Share(options.flip);
  }

  // One burst further, and whatever is due. How many frames came.
  unsigned pass(std::uint64_t now) {
    now_ = now;
    const unsigned count = in_.receive(burst_max, [this](std::span<std::uint8_t> frame) { meet(frame); });
    while (!delayed_.empty() && delayed_.front().due_us <= now) {
      sending_.push_back(std::move(delayed_.front().frame));
      delayed_.pop_front();
      emerge(sending_.back());
    }
    send_overdue();
    out_.flush();
    in_.release();
    sending_.clear();
    return count;
  }

  // When something is due; `horizon` when nothing is before it.
  std::uint64_t due_us(std::uint64_t horizon) const {
    if (!delayed_.empty()) horizon = std::min(horizon, delayed_.front().due_us);
    for (const Waiting& waiting : aside_) horizon = std::min(horizon, waiting.due_us);
    return horizon;
  }

  Json counts() {
    return {{"received", counts_.received},     {"lost", counts_.lost},
            {"dropped_by_rule", counts_.dropped_by_rule}, {"flipped", counts_.flipped},
            {"duplicated", counts_.duplicated}, {"set_aside", counts_.set_aside},
            {"reordered", counts_.reordered},   {"sent", out_.sent()},
            {"send_failed", out_.send_failed()}, {"waiting", delayed_.size() + aside_.size()},
            {"ring_full", in_.ring_full()}};
  }

 private:
  void meet(std::span<std::uint8_t> frame) {
    ++counts_.received;
    if (!rules_.empty()) {
      const auto heard = read_tcp(frame);
      if (heard && rules_.wants(*heard, from_)) {
        ++counts_.dropped_by_rule;
        return;
      }
    }
    if (loss_.strikes(dice_)) {
      ++counts_.lost;
      return;
    }
    if (flip_.strikes(dice_) && frame.size() > damage_after) {
      const std::uint64_t bit = next_random(dice_) % ((frame.size() - damage_after) * 8);
      frame[damage_after + bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
      ++counts_.flipped;
    }
    if (duplicate_.strikes(dice_)) {
      ++counts_.duplicated;
      start(frame);
    }
    if (reorder_.strikes(dice_)) {
      ++counts_.set_aside;
      aside_.push_back({{frame.begin(), frame.end()}, now_ + delay_us_ + aside_max_us, overtaken_by});
      return;
    }
    start(frame);
  }

  void start(std::span<const std::uint8_t> frame) {
    if (delay_us_ == 0) return emerge(frame);
    delayed_.push_back({{frame.begin(), frame.end()}, now_ + delay_us_, 0});
  }

  // Leaves, and what it has overtaken may follow. The bytes stay until the port's flush.
  void emerge(std::span<const std::uint8_t> frame) {
    out_.send(frame);
    for (std::size_t i = 0; i < aside_.size();) {
      if (--aside_[i].to_pass > 0) {
        ++i;
      } else {
        send_aside(i);
      }
    }
  }

  void send_aside(std::size_t index) {
    if (aside_[index].to_pass < overtaken_by) ++counts_.reordered;
    sending_.push_back(std::move(aside_[index].frame));
    aside_.erase(aside_.begin() + static_cast<std::ptrdiff_t>(index));
    out_.send(sending_.back());
  }

  void send_overdue() {
    for (std::size_t i = 0; i < aside_.size();) {
      if (aside_[i].due_us > now_) {
        ++i;
      } else {
        send_aside(i);
      }
    }
  }

  RawPort &in_, &out_;
  DropRules& rules_;
  Side from_;
  std::uint64_t delay_us_, dice_, now_ = 0;
  Share loss_{0}, duplicate_{0}, reorder_{0}, flip_{0};
  std::deque<Waiting> delayed_;                    // in the order of their time
  std::vector<Waiting> aside_;                     // a few
  std::deque<std::vector<std::uint8_t>> sending_;  // copies in the batch of the port; a deque: they must not move
  Counts counts_;
};

class Relay {
 public:
  explicit Relay(const Options& options)
      : left_(options.left, options.ring), right_(options.right, options.ring) {
    for (const std::string& text : options.drops) rules_.add(text);
    from_left_ = std::make_unique<Direction>(options, Side::left, left_, right_, rules_);
    from_right_ = std::make_unique<Direction>(options, Side::right, right_, left_, rules_);
  }

  void run() {
    while (!stop_requested()) {
      const std::uint64_t now = now_us();
      if (from_left_->pass(now) + from_right_->pass(now) == 0) wait(now);
      if (take_progress_request()) report("progress");
    }
    report("result");
  }

 private:
  void wait(std::uint64_t now) {
    const std::uint64_t due = from_right_->due_us(from_left_->due_us(now + 100'000));
    const std::uint64_t wait_us = due > now ? due - now : 0;
    const timespec time{static_cast<time_t>(wait_us / 1'000'000), static_cast<long>(wait_us % 1'000'000 * 1000)};
    pollfd ports[2] = {{left_.fd(), POLLIN, 0}, {right_.fd(), POLLIN, 0}};
    ppoll(ports, 2, &time, nullptr);
  }

  void report(const char* event) {
    print_line({{"event", event}, {"from_left", from_left_->counts()}, {"from_right", from_right_->counts()}});
  }

  RawPort left_, right_;
  DropRules rules_;
  std::unique_ptr<Direction> from_left_, from_right_;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  sluice::CommandLine command{"Relay frames between two interfaces, and lose, repeat, reorder, delay and damage some."};
  command.add("--left", options.left, "interface").required();
  command.add("--right", options.right, "interface").required();
  command.add("--loss", options.loss, "percent of the packets");
  command.add("--duplicate", options.duplicate, "percent that are sent twice");
  command.add("--reorder", options.reorder, "percent that three others overtake");
  command.add("--flip", options.flip, "percent in which one bit behind the Ethernet header is turned");
  command.add("--delay-us", options.delay_us, "all packets, microseconds");
  command.add("--from", options.from, "side whose packets the percentages are of").one_of({"both", "left", "right"});
  command.add("--drop", options.drops, "a rule, for instance \"segment=2 times=3 from=left\": syn, syn-ack, ack, fin or segment=K");
  command.add("--ring", options.ring, "frames that may wait on each side");
  command.add("--seed", options.seed, "the same seed decides alike; default: a new one");
  if (const auto status = command.parse(argc, argv)) return *status;
  Relay relay(options);
  install_signal_handlers();
  print_line({{"event", "seed"}, {"seed", options.seed}});
  relay.run();
  return 0;
}

}  // namespace sluice::tools::impair
