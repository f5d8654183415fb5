#include "perf/bench/packet_path.h"

#include <fmt/format.h>

#include "dataplane/pipeline/stages.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

constexpr std::size_t opened_per_batch = 512;
constexpr std::size_t opened_max = 100'000;  // as much as make_snapshot() leaves room for

// Fills the batch with packets of random flows; returns the five-tuples with which they must leave.
std::vector<FlowKey> write_established(Rig& rig, Batch& batch) {
  std::vector<FlowKey> leaving;
  leaving.reserve(batch_count);
  batch.clear();
  while (!batch.is_full()) {
    const std::uint32_t flow = rig.random_flow();
    const bool is_reply = (batch.count() & 1) != 0;
    const FlowKey client = rig.client_key(flow);
    const FlowKey reply = rig.reply_key(flow);
    batch.add(is_reply ? reply : client, tcp_flag::ack);
    leaving.push_back(is_reply ? client.reversed() : reply.reversed());
  }
  return leaving;
}

}  // namespace

double established(Rig& rig) {
  static thread_local Batch batch;
  const std::vector<FlowKey> leaving = write_established(rig, batch);
  const std::uint64_t spent = batch.run(rig.world(), [&](Burst& burst, std::size_t first) {
    for (Packet& packet : burst.all()) check_leaves_as(packet, leaving[first++]);
  });
  return static_cast<double>(spent) / batch_count;
}

std::vector<StageCost> stage_costs(Rig& rig, int batches) {
  using Stage = void (*)(World&, Burst&);
  static constexpr std::pair<std::string_view, Stage> stages[] = {
      {"parse", parse},
      {"find_flow", [](World& world, Burst& burst) { find_flow(world, burst); }},
      {"rewrite", rewrite},
      {"resolve_next_hop", resolve_next_hop},
      {"maintain", [](World& world, Burst&) { maintain(world); }},
      {"count_verdicts", count_verdicts},
  };
  std::vector<std::vector<double>> spent(std::size(stages));
  Batch batch;
  Burst burst;
  for (int i = 0; i < batches; ++i) {
    write_established(rig, batch);
    std::vector<std::uint64_t> of_batch(std::size(stages));
    for (std::size_t first = 0; first < batch_count; first += burst_count_max) {
      batch.fill(burst, first);
      for (std::size_t s = 0; s < std::size(stages); ++s) {
        const std::uint64_t begin = tsc();
        stages[s].second(rig.world(), burst);
        of_batch[s] += tsc() - begin;
      }
    }
    for (std::size_t s = 0; s < std::size(stages); ++s) {
      spent[s].push_back(static_cast<double>(of_batch[s]) / batch_count);
    }
  }
  std::vector<StageCost> costs;
  for (std::size_t s = 0; s < std::size(stages); ++s) {
    costs.push_back({stages[s].first, median_of(spent[s])});
  }
  return costs;
}

double Opener::opened() {
  if (opened_.size() + opened_per_batch > opened_max) close_all();
  Batch batch;
  while (batch.count() < opened_per_batch) {
    batch.add(rig_.client_key(rig_.fresh_flow()), tcp_flag::syn);
  }
  const std::uint64_t spent = batch.run(rig_.world(), [&](Burst& burst, std::size_t) {
    for (const Packet& packet : burst.all()) {
      rig_.check_opened(packet);
      opened_.push_back(packet.flow);
    }
  });
  return static_cast<double>(spent) / opened_per_batch;
}

void Opener::close_all() {
  for (FlowRecord* record : opened_) close_flow(rig_.world(), *record);
  opened_.clear();
}

double refused(Rig& rig, std::uint16_t port, Verdict verdict) {
  static thread_local Batch batch;
  batch.clear();
  while (!batch.is_full()) {
    FlowKey key = rig.client_key(rig.fresh_flow());
    key.destination_port = be16(port);
    batch.add(key, tcp_flag::syn);
  }
  const std::uint64_t spent = batch.run(rig.world(), [&](Burst& burst, std::size_t) {
    for (const Packet& packet : burst.all()) {
      if (packet.verdict == verdict) continue;
      broken(fmt::format("a packet ended as {} instead of {}", name_of(packet.verdict),
                         name_of(verdict)));
    }
  });
  return static_cast<double>(spent) / batch_count;
}

}  // namespace sluice::perf
