#include "perf/bench/connections.h"

#include <fmt/core.h>

#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

struct Step {
  bool is_reply;
  std::uint8_t flags;
  std::uint32_t sent, acknowledged;  // sequence numbers after the SYNs: a FIN counts when it was acknowledged
};

constexpr std::uint8_t push = tcp_flag::ack | 0x08;
constexpr std::uint8_t finish = tcp_flag::ack | tcp_flag::fin;
constexpr Step steps[Connections::packets_per_connection] = {
    {false, tcp_flag::syn, 0, 0}, {true, tcp_flag::syn | tcp_flag::ack, 0, 1},
    {false, tcp_flag::ack, 1, 1}, {false, push, 1, 1},
    {true, tcp_flag::ack, 1, 1},  {true, push, 1, 1},
    {false, tcp_flag::ack, 1, 1}, {false, finish, 1, 1},
    {true, finish, 1, 2},         {false, tcp_flag::ack, 2, 2},
};

FrameFields fields_of(const Step& step) {
  FrameFields fields;
  fields.to = our_mac;
  fields.from = client_mac;
  fields.tcp_flags = step.flags;
  fields.sequence = (step.is_reply ? endpoint_isn : client_isn) + step.sent;
  fields.acknowledgment = (step.is_reply ? client_isn : endpoint_isn) + step.acknowledged;
  return fields;
}

Setup setup_of(std::uint32_t capacity, double share) {
  Setup setup;
  setup.capacity = capacity;
  setup.flows = static_cast<std::uint32_t>(capacity * (share - Connections::closed_share));
  setup.closed_ms = 100;  // longer than a batch: the last acknowledgment still meets its flow
  return setup;
}

}  // namespace

Connections::Connections(std::uint32_t capacity, double share)
    : rig_(setup_of(capacity, share)),
      capacity_(capacity),
      flows_wanted_(static_cast<std::size_t>(capacity * share)) {
  // Until the table is as full as it is meant to be: connections that have all closed.
  while (rig_.world().flows.count() < flows_wanted_) run();
}

double Connections::fill_seen() const {
  return static_cast<double>(const_cast<Rig&>(rig_).world().flows.count()) / capacity_;
}

void Connections::write() {
  batch_.clear();
  leaving_.clear();
  cohorts_[0].resize(per_cohort);
  for (Connection& connection : cohorts_[0]) connection.client = rig_.client_key(rig_.fresh_flow());
  for (std::size_t i = 0; i < per_cohort; ++i) {
    for (std::size_t k = 0; k < packets_per_connection; ++k) {
      if (i >= cohorts_[k].size()) continue;  // not that far yet
      const Connection& connection = cohorts_[k][i];
      batch_.add(steps[k].is_reply ? connection.reply : connection.client, fields_of(steps[k]));
      leaving_.push_back((steps[k].is_reply ? connection.client : connection.reply).reversed());
    }
  }
}

double Connections::round() {
  spent_ = expiry_ = 0;
  const auto connections = static_cast<std::size_t>(capacity_ * closed_share);
  std::size_t count = 0;
  for (; count < connections; count += per_cohort) run();
  expiry_clk_ = static_cast<double>(expiry_) / static_cast<double>(count);
  return static_cast<double>(spent_) / static_cast<double>(count);
}

void Connections::run() {
  write();
  World& world = rig_.world();
  Burst burst;
  std::size_t opened = 0;
  for (std::size_t first = 0; first < batch_.count(); first += burst_count_max) {
    batch_.fill(burst, first);
    // Not faster than expiry pays, or it would go round the table more often than it must.
    const bool has_paid = world.sweep_debt < world.flows.capacity();
    if (world.flows.count() >= flows_wanted_ && has_paid) rig_.advance({1});
    const std::uint64_t begin = tsc();
    process_burst(world, burst);
    const std::uint64_t processed = tsc();
    maintain(world);
    const std::uint64_t maintained = tsc();
    count_verdicts(world, burst);
    spent_ += tsc() - begin;
    expiry_ += maintained - processed;
    std::size_t i = first;
    for (Packet& packet : burst.all()) {
      const FlowKey& expected = leaving_[i++];
      if (packet.frame.tcp_flags != tcp_flag::syn) {
        check_leaves_as(packet, expected);
        continue;
      }
      rig_.check_opened(packet);
      // The record may be swept before the batch ends: what the endpoint will answer is noted now.
      cohorts_[0][opened++].reply = key_in(packet.data).reversed();
    }
  }
  for (std::size_t k = packets_per_connection - 1; k > 0; --k) cohorts_[k].swap(cohorts_[k - 1]);
}

double expired_per_second(std::uint32_t capacity) {
  Setup setup;
  setup.capacity = setup.flows = capacity;
  setup.closed_ms = 1;
  Rig rig(setup);
  for (const FlowRecord& record : rig.world().flows.records()) {
    const_cast<FlowRecord&>(record).state = FlowState::closed;
  }
  const std::size_t before = rig.world().flows.count();
  // Busy as the worker is: some bursts a millisecond, each followed by maintain().
  for (int ms = 0; ms < 1'000; ++ms) {
    rig.advance({1});
    for (int burst = 0; burst < 100; ++burst) maintain(rig.world());
  }
  return static_cast<double>(before - rig.world().flows.count());
}

}  // namespace sluice::perf
