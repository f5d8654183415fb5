#include "perf/bench/packet_path.h"

#include <fmt/core.h>

#include "dataplane/pipeline/stages.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

constexpr std::size_t opened_per_batch = 512;
constexpr std::size_t frame_headers_bytes = sizeof(EthernetHeader) + sizeof(Ipv4Header) + sizeof(TcpHeader);
constexpr std::size_t opened_max = 100'000;  // as much as make_snapshot() leaves room for

FrameFields of_segment(std::size_t frame_bytes) {
  FrameFields fields;
  fields.to = our_mac;
  fields.from = client_mac;
  fields.tcp_flags = tcp_flag::ack;
  fields.payload_bytes = frame_bytes - frame_headers_bytes;
  return fields;
}

// Fills the batch with packets of random flows, every other one a reply unless they pass by; returns the five-tuples with which they must leave.
template <class Add>
std::vector<FlowKey> write_established(Rig& rig, Batch& batch, Add add) {
  std::vector<FlowKey> leaving;
  leaving.reserve(batch_count);
  batch.clear();
  while (!batch.is_full()) {
    const std::uint32_t flow = rig.random_flow();
    const FlowKey client = rig.client_key(flow);
    if (has_tunnel(rig.setup().forwarding)) {
      add(client);
      leaving.push_back(client);
      continue;
    }
    const bool is_reply = (batch.count() & 1) != 0;
    const FlowKey reply = rig.reply_key(flow);
    add(is_reply ? reply : client);
    leaving.push_back(is_reply ? client.reversed() : reply.reversed());
  }
  return leaving;
}

std::vector<FlowKey> write_established(Rig& rig, Batch& batch) {
  return write_established(rig, batch, [&](const FlowKey& key) { batch.add(key, tcp_flag::ack); });
}

struct TimedStage {
  std::string_view name;
  void (*run)(World&, Burst&);
};

void find_all(World& world, Burst& burst) { find_flow(world, burst); }

// In the order of process_burst().
constexpr TimedStage of_known[] = {
    {"parse", parse},
    {"find_flow", find_all},
    {"rewrite", rewrite},
    {"resolve_next_hop", resolve_next_hop},
    {"maintain", [](World& world, Burst&) { maintain(world); }},
    {"count_verdicts", count_verdicts},
};
constexpr TimedStage of_new[] = {
    {"parse", parse},     {"find_flow", find_all}, {"classify", classify},
    {"open_flow", open_flow}, {"rewrite", rewrite},    {"resolve_next_hop", resolve_next_hop},
};

// Medians over the batches that `write` fills; `visit` sees each burst behind the last stage.
template <class Write, class Visit>
std::vector<StageCost> costs_of(std::span<const TimedStage> stages, World& world, int batches, Write write, Visit visit) {
  std::vector<std::vector<double>> spent(stages.size());
  Batch batch;
  Burst burst;
  for (int i = 0; i < batches; ++i) {
    write(batch);
    std::vector<std::uint64_t> of_batch(stages.size());
    for (std::size_t first = 0; first < batch.count(); first += burst_count_max) {
      batch.fill(burst, first);
      for (std::size_t s = 0; s < stages.size(); ++s) {
        const std::uint64_t begin = tsc();
        stages[s].run(world, burst);
        of_batch[s] += tsc() - begin;
      }
      visit(burst);
    }
    for (std::size_t s = 0; s < stages.size(); ++s) {
      spent[s].push_back(static_cast<double>(of_batch[s]) / static_cast<double>(batch.count()));
    }
  }
  std::vector<StageCost> costs;
  for (std::size_t s = 0; s < stages.size(); ++s) costs.push_back({stages[s].name, median_of(spent[s])});
  return costs;
}

}  // namespace

double established(Rig& rig) {
  static thread_local Batch batch;
  const std::vector<FlowKey> leaving = write_established(rig, batch);
  const std::uint64_t spent = batch.run(rig.world(), [&](Burst& burst, std::size_t first) {
    for (Packet& packet : burst.all()) {
      if (has_tunnel(rig.setup().forwarding)) rig.check_tunneled(packet, leaving[first++]);
      else check_leaves_as(packet, leaving[first++]);
    }
  });
  return static_cast<double>(spent) / batch_count;
}

double established_of(Rig& rig, Batch& batch, std::size_t frame_bytes) {
  const FrameFields fields = of_segment(frame_bytes);
  const std::vector<FlowKey> leaving = write_established(rig, batch, [&](const FlowKey& key) { batch.add(key, fields); });
  const std::uint64_t spent = batch.run(rig.world(), [](Burst& burst, std::size_t) {
    for (const Packet& packet : burst.all()) check_forwarded(packet);
  });
  // Afterwards: to look at payloads between the bursts would empty the cache for the next one.
  for (std::size_t i = 0; i < batch.count(); ++i) check_leaves_as(batch.bytes(i), leaving[i]);
  return static_cast<double>(spent) / batch_count;
}

std::vector<StageCost> stage_costs(Rig& rig, int batches) {
  return costs_of(of_known, rig.world(), batches, [&](Batch& batch) { write_established(rig, batch); }, [](Burst&) {});
}

double Opener::opened() {
  static thread_local Batch batch;
  write(batch);
  const std::uint64_t spent = batch.run(rig_.world(), [&](Burst& burst, std::size_t) { note(burst); });
  return static_cast<double>(spent) / opened_per_batch;
}

std::vector<StageCost> Opener::stage_costs(int batches) {
  return costs_of(of_new, rig_.world(), batches, [&](Batch& batch) { write(batch); }, [&](Burst& burst) { note(burst); });
}

void Opener::write(Batch& batch) {
  if (opened_.size() + opened_per_batch > opened_max) close_all();
  batch.clear();
  while (batch.count() < opened_per_batch) batch.add(next_client(), tcp_flag::syn);
}

void Opener::note(Burst& burst) {
  for (const Packet& packet : burst.all()) {
    rig_.check_opened(packet);
    opened_.push_back(packet.flow);
  }
}

FlowKey Opener::next_client() {
  const std::uint32_t flow = rig_.fresh_flow();
  FlowKey key = rig_.client_key(flow);
  // An odd factor: each client comes once in 2^25.
  if (is_spread_) key.source = IpAddress::v4(be32(first_spread_client + (flow * 0x9e3779b1u >> 7)));
  return key;
}

void Opener::close_all() {
  for (FlowRecord* record : opened_) close_flow(rig_.world(), *record);
  opened_.clear();
}

std::function<FlowKey()> strangers(Rig& rig, std::uint16_t port) {
  return [&rig, port] {
    FlowKey key = rig.client_key(rig.fresh_flow());
    key.destination_port = be16(port);
    return key;
  };
}

std::function<FlowKey()> strangers_from_denied(Rig& rig, std::uint32_t network_count) {
  return [&rig, network_count] {
    const std::uint32_t flow = rig.fresh_flow();
    FlowKey key = rig.client_key(flow);
    key.source = IpAddress::v4(be32(listed_network(first_denied_client, flow * 0x9e3779b1u % network_count) + (flow & 0xff)));
    return key;
  };
}

double decided(Rig& rig, Verdict verdict, const std::function<FlowKey()>& next) {
  static thread_local Batch batch;
  batch.clear();
  while (!batch.is_full()) batch.add(next(), tcp_flag::syn);
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
