#include "perf/bench/republish.h"

#include <sched.h>

#include <atomic>
#include <cstring>
#include <numeric>
#include <optional>
#include <thread>

#include "perf/common/histogram.h"
#include "perf/bench/rig.h"

namespace sluice::perf {
namespace {

struct PublishedTables {
  explicit PublishedTables(SnapshotBuffer snapshot)
      : buffer(std::move(snapshot)), tables(*Snapshot::verify(buffer.bytes())) {}
  SnapshotBuffer buffer;
  Snapshot tables;
};

// What the publisher and the polling thread share; each word has one writer.
struct Channel {
  alignas(64) std::atomic<const PublishedTables*> newest{nullptr};   // the publisher's
  alignas(64) std::atomic<const PublishedTables*> adopted{nullptr};  // the polling thread's
  alignas(64) std::atomic<bool> is_over{false};
};

void publish_until_over(const Setup& setup, Channel& channel) {
  std::unique_ptr<PublishedTables> current, previous;
  for (std::uint64_t generation = 2; !channel.is_over.load(std::memory_order_acquire);
       ++generation) {
    previous = std::move(current);
    current = std::make_unique<PublishedTables>(make_snapshot(setup, generation));
    channel.newest.store(current.get(), std::memory_order_release);  // pairs with Poller::adopt
    while (channel.adopted.load(std::memory_order_acquire) != current.get() &&  // pairs with adopt
           !channel.is_over.load(std::memory_order_acquire)) {
      std::this_thread::yield();
    }
  }
  // The rig goes back to its own tables before these are freed.
  while (channel.adopted.load(std::memory_order_acquire) != nullptr) std::this_thread::yield();
}

constexpr double stall_us_min = 5;  // 32 copies take less
constexpr double warm_up_share = 0.2;  // of a turn, before it
constexpr double warm_up_share_beside = 1.2;  // a thousand VIPs take some 50 ms to build: turns begin when the first have come
constexpr double full_load_seconds = 0.1;

struct Prepared {  // a frame as it arrives, again and again
  Frame frame[2];
  std::uint16_t bytes;
};

// What a packet is put through.
enum class Work {
  none,       // the loop alone
  additions,  // as many cycles as the pipeline takes, spent in registers: no memory, no branches
  pipeline,
};

// Dependent additions, for about as many clk when nothing interrupts them. Not until the clock says so: what interrupts the
// pipeline makes it end later, and so it must be here.
void add_for(double clk) {
  static const double adds_per_tsc = calibration().usual_ghz * 1e9 / tsc_hz();  // one a core cycle
  std::uint64_t x = 1, one = 1;
  for (auto left = static_cast<std::int64_t>(clk * adds_per_tsc); left > 0; left -= 8) {
    asm volatile(
        "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\t"
        "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0"
        : "+r"(x)
        : "r"(one));
  }
}

// While it exists, this thread stays on the last CPU and gives way to no ordinary task, as an appliance's lcores do. Without the
// right to it, it is as others are. For less than a second: the kernel takes the CPU away from who keeps it longer.
class OwnCpu {
 public:
  OwnCpu() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t last;
    CPU_ZERO(&last);
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; --cpu) {
      if (!CPU_ISSET(cpu, &before_)) continue;
      CPU_SET(cpu, &last);
      break;
    }
    sched_setaffinity(0, sizeof last, &last);
    const sched_param priority{1};
    sched_setscheduler(0, SCHED_FIFO, &priority);
  }
  ~OwnCpu() {
    const sched_param ordinary{0};
    sched_setscheduler(0, SCHED_OTHER, &ordinary);
    sched_setaffinity(0, sizeof before_, &before_);
  }
  OwnCpu(const OwnCpu&) = delete;
  OwnCpu& operator=(const OwnCpu&) = delete;

 private:
  cpu_set_t before_{};
};

class Poller {
 public:
  Poller(Rig& rig, Channel& channel) : rig_(rig), channel_(channel), frames_(batch_count) {
    for (std::size_t i = 0; i < batch_count; ++i) {
      const std::uint32_t flow = rig.random_flow();
      const FlowKey key = (i & 1) != 0 ? rig.reply_key(flow) : rig.client_key(flow);
      frames_[i].bytes = write_frame(frames_[i].frame[0].bytes, key, tcp_flag::ack);
    }
  }

  // One arrival every `clk_per_packet`.
  Histogram poll(double clk_per_packet, double seconds, Work work) {
    const OwnCpu own_cpu;
    Histogram latency_ns;
    World& world = rig_.world();
    const double ns_per_clk = 1e9 / tsc_hz();
    const std::uint64_t begin = tsc();
    const auto end = begin + static_cast<std::uint64_t>(seconds * tsc_hz());
    const auto begin_ms = world.now.ms;
    std::uint64_t served = 0, before = begin;
    for (std::uint64_t now = tsc(); now < end; before = now, now = tsc()) {
      if (work == Work::none) note_stall(now - before);
      // While the pipeline rests its time does, or it would begin its turn with what expiry owes for the others'.
      if (work == Work::pipeline) {
        world.now.ms = begin_ms + static_cast<std::uint64_t>(static_cast<double>(now - begin) * ns_per_clk / 1e6);
      }
      adopt();
      const auto arrived =
          static_cast<std::uint64_t>(static_cast<double>(now - begin) / clk_per_packet);
      const auto count = std::min<std::uint64_t>(arrived - served, burst_count_max);
      if (count == 0) continue;
      burst_.count = 0;
      for (std::uint64_t i = 0; i < count; ++i) receive((served + i) % batch_count, i);
      if (work == Work::pipeline) {
        process_burst(world, burst_);
        maintain(world);
        count_verdicts(world, burst_);
      } else if (work == Work::additions) {
        add_for(static_cast<double>(count) * clk_per_packet / 2);
      }
      const std::uint64_t done = tsc();
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto arrival = begin + static_cast<std::uint64_t>(
                                         static_cast<double>(served + i + 1) * clk_per_packet);
        latency_ns.add(static_cast<std::uint64_t>(
            static_cast<double>(done - std::min(done, arrival)) * ns_per_clk));
      }
      served += count;
      if (work == Work::pipeline) check();
    }
    if (work == Work::none) alone_seconds_ += seconds;
    return latency_ns;
  }

  Stalls stalls() const {
    if (stalls_us_.empty()) return {};
    const double sum = std::accumulate(stalls_us_.begin(), stalls_us_.end(), 0.0);
    return {figure_of(stalls_us_), static_cast<double>(stalls_us_.size()) / alone_seconds_, sum / 1e6 / alone_seconds_};
  }

  std::uint64_t adopted() const { return adopted_count_; }
  void leave() {
    rig_.world().tables = &rig_.tables();
    adopt_snapshot(rig_.world());
    adopted_ = nullptr;
    channel_.adopted.store(nullptr, std::memory_order_release);  // pairs with publish_until_over
  }

 private:
  void receive(std::uint64_t from, std::uint64_t to) {
    std::memcpy(buffers_[2 * to].bytes, frames_[from].frame, sizeof frames_[from].frame);
    Packet& packet = burst_.add();
    packet.data = buffers_[2 * to].bytes;
    packet.bytes = frames_[from].bytes;
  }

  void note_stall(std::uint64_t clk) {
    const double us = static_cast<double>(clk) * 1e6 / tsc_hz();
    if (us > stall_us_min) stalls_us_.push_back(us);
  }

  void adopt() {
    const PublishedTables* newest =
        channel_.newest.load(std::memory_order_acquire);  // pairs with publish
    if (newest == adopted_ || newest == nullptr) return;
    adopted_ = newest;
    ++adopted_count_;
    rig_.world().tables = &newest->tables;
    adopt_snapshot(rig_.world());
    channel_.adopted.store(newest, std::memory_order_release);  // pairs with publish_until_over
  }

  void check() const {
    for (const Packet& packet : std::span(burst_.packets).first(burst_.count)) {
      if (packet.verdict != Verdict::forward) {
        broken("a packet of a known flow was not forwarded while snapshots were published");
      }
    }
  }

  Rig& rig_;
  Channel& channel_;
  std::vector<Prepared> frames_;
  Frame buffers_[2 * burst_count_max];
  Burst burst_;
  const PublishedTables* adopted_ = nullptr;
  std::uint64_t adopted_count_ = 0;
  std::vector<double> stalls_us_;
  double alone_seconds_ = 0;
};

using Turns = std::vector<Histogram>;

Turns only(const Turns& turns, const std::vector<std::size_t>& rounds) {
  Turns kept;
  for (const std::size_t round : rounds) kept.push_back(turns[round]);
  return kept;
}

std::vector<double> quantiles_us(const Turns& turns, double share) {
  std::vector<double> us;
  for (const Histogram& turn : turns) us.push_back(static_cast<double>(turn.quantile(share)) / 1e3);
  return us;
}

Latency latency_of(const Turns& turns) {
  const auto at = [&](double share) { return figure_of(quantiles_us(turns, share)); };
  return {at(0.5), at(0.99), at(0.999), at(1)};
}

// Turn by turn: what `turns` waited longer than `reference` did right before.
Latency latency_beyond(const Turns& turns, const Turns& reference) {
  const auto at = [&](double share) {
    return difference_of(quantiles_us(turns, share), quantiles_us(reference, share));
  };
  return {at(0.5), at(0.99), at(0.999), at(1)};
}

}  // namespace

LatencyFigures measure_latency(std::uint32_t flows, std::uint32_t vip_count, int turns,
                               double seconds) {
  Setup setup;
  setup.flows = flows;
  setup.vip_count = vip_count;
  Rig rig(setup);
  Channel channel;
  auto poller = std::make_unique<Poller>(rig, channel);
  // Full load: as many packets as come, for a short while; the clk that a packet then takes. The
  // best of some tries: an interrupted one would make half load look like less than it is.
  double full_clk = 1e9;
  for (int i = 0; i < 5; ++i) {
    const std::uint64_t before = rig.world().counters.of(Verdict::forward).read();
    const std::uint64_t begin = tsc();
    poller->poll(1, full_load_seconds, Work::pipeline);
    const std::uint64_t forwarded = rig.world().counters.of(Verdict::forward).read() - before;
    full_clk =
        std::min(full_clk, static_cast<double>(tsc() - begin) / static_cast<double>(forwarded));
    rig.answer_neighbors();
  }
  const double half_clk = 2 * full_clk;
  // What rested while others had their turn finds its memory out of the cache: steady traffic is what counts.
  const auto turn_of = [&](Work work, double warm_up_of_turn = warm_up_share) {
    poller->poll(half_clk, warm_up_of_turn * seconds, work);
    Histogram latency_ns = poller->poll(half_clk, seconds, work);
    rig.answer_neighbors();
    return latency_ns;
  };
  const auto turn_beside = [&](auto other, Work work) {
    channel.is_over = false;
    std::thread thread(other);
    Histogram latency_ns = turn_of(work, warm_up_share_beside);
    channel.is_over.store(true, std::memory_order_release);  // pairs with publish_until_over
    poller->leave();
    thread.join();
    channel.newest = nullptr;  // what the publisher made is gone
    return latency_ns;
  };
  const auto add_until_over = [&] {
    while (!channel.is_over.load(std::memory_order_acquire)) parallel_adds_per_clk();
  };
  Turns loop, additions, quiet, busy, reload;
  const std::vector<std::size_t> rounds = play_rounds(turns, {
      [&] { loop.push_back(turn_of(Work::none)); },
      [&] { additions.push_back(turn_of(Work::additions)); },
      [&] { quiet.push_back(turn_of(Work::pipeline)); },
  });
  for (Turns* all : {&loop, &additions, &quiet}) *all = only(*all, rounds);
  const std::vector<std::size_t> rounds_beside = play_rounds(turns, {
      [&] { busy.push_back(turn_beside(add_until_over, Work::additions)); },
      [&] { reload.push_back(turn_beside([&] { publish_until_over(setup, channel); }, Work::pipeline)); },
  });
  for (Turns* all : {&busy, &reload}) *all = only(*all, rounds_beside);
  return {latency_of(loop),   latency_of(additions),           latency_of(busy),
          latency_of(quiet),  latency_of(reload), latency_beyond(quiet, additions), latency_beyond(reload, busy),
          poller->stalls(),      poller->adopted()};
}

}  // namespace sluice::perf
