#include "perf/bench/republish.h"

#include <atomic>
#include <cstring>
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

struct Prepared {  // a frame as it arrives, again and again
  Frame frame[2];
  std::uint16_t bytes;
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
  Histogram poll(double clk_per_packet, double seconds, bool has_pipeline) {
    Histogram latency_ns;
    World& world = rig_.world();
    const double ns_per_clk = 1e9 / tsc_hz();
    const std::uint64_t begin = tsc();
    const auto end = begin + static_cast<std::uint64_t>(seconds * tsc_hz());
    const auto begin_ms = world.now.ms;
    std::uint64_t served = 0;
    for (std::uint64_t now = tsc(); now < end; now = tsc()) {
      world.now.ms = begin_ms + static_cast<std::uint64_t>(static_cast<double>(now - begin) *
                                                           ns_per_clk / 1e6);
      adopt();
      const auto arrived =
          static_cast<std::uint64_t>(static_cast<double>(now - begin) / clk_per_packet);
      const auto count = std::min<std::uint64_t>(arrived - served, burst_count_max);
      if (count == 0) continue;
      burst_.count = 0;
      for (std::uint64_t i = 0; i < count; ++i) receive((served + i) % batch_count, i);
      if (has_pipeline) {
        process_burst(world, burst_);
        maintain(world);
        count_verdicts(world, burst_);
      }
      const std::uint64_t done = tsc();
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto arrival = begin + static_cast<std::uint64_t>(
                                         static_cast<double>(served + i + 1) * clk_per_packet);
        latency_ns.add(static_cast<std::uint64_t>(
            static_cast<double>(done - std::min(done, arrival)) * ns_per_clk));
      }
      served += count;
      if (has_pipeline) check();
    }
    return latency_ns;
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
};

Figure quantile_of(const std::vector<Histogram>& turns, double share) {
  std::vector<double> us;
  for (const Histogram& turn : turns) us.push_back(static_cast<double>(turn.quantile(share)) / 1e3);
  return figure_of(us);
}

Latency latency_of(const std::vector<Histogram>& turns) {
  return {quantile_of(turns, 0.5), quantile_of(turns, 0.99), quantile_of(turns, 0.999),
          quantile_of(turns, 1)};
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
    poller->poll(1, seconds, true);
    const std::uint64_t forwarded = rig.world().counters.of(Verdict::forward).read() - before;
    full_clk =
        std::min(full_clk, static_cast<double>(tsc() - begin) / static_cast<double>(forwarded));
    rig.answer_neighbors();
  }
  const double half_clk = 2 * full_clk;
  std::vector<Histogram> machine, quiet, reload;
  for (int turn = 0; turn < turns; ++turn) {
    machine.push_back(poller->poll(half_clk, seconds, false));
    rig.answer_neighbors();
    quiet.push_back(poller->poll(half_clk, seconds, true));
    rig.answer_neighbors();
    channel.is_over = false;
    std::thread publisher(publish_until_over, std::cref(setup), std::ref(channel));
    reload.push_back(poller->poll(half_clk, seconds, true));
    rig.answer_neighbors();
    channel.is_over.store(true, std::memory_order_release);  // pairs with publish_until_over
    poller->leave();
    publisher.join();
    channel.newest = nullptr;  // what the publisher made is gone
  }
  return {latency_of(machine), latency_of(quiet), latency_of(reload), poller->adopted()};
}

}  // namespace sluice::perf
