#include "dataplane/pipeline/process_burst.h"

#include <algorithm>

#include "dataplane/base/assert.h"
#include "dataplane/flow/tcp_state.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"
#include "dataplane/pipeline/take_over.h"
#include "dataplane/pipeline/watch.h"

namespace sluice {
namespace {

constexpr std::uint64_t sweep_round_ms = 2'000;  // every flow is looked at this often, if bursts allow
constexpr std::uint64_t sweep_count_max = 256;   // per call: some microseconds
constexpr std::uint64_t pending_round_ms = 20;
constexpr Milliseconds neighbor_check_interval{50};
constexpr std::uint32_t neighbor_retry_ms = 250;
constexpr std::uint32_t neighbor_probes_max = 4;
constexpr std::uint32_t neighbor_reachable_ms = 30'000;  // RFC 4861 10, REACHABLE_TIME
constexpr std::uint32_t neighbor_unused_ms = 600'000;

// Connections whose endpoint is not joined yet have timers of their own.
bool is_pending(const World& world, const FlowRecord& record) {
  return (record.flags & flow_flag::is_spliced) != 0 && world.splices[record.splice_slot].pending != 0;
}

// What a new snapshot means for a flow that was opened under an older one; whether it is over. Flows of a VIP or an
// endpoint that is no longer configured are: nobody may inherit them. Those of an endpoint whose drain deadline has
// passed, or that is down and whose cluster wants it so, are ended; those of a blocked client are forgotten.
bool is_over_since_snapshot(World& world, FlowRecord& record) {
  const EndpointRow* endpoint = world.tables->endpoint_by_id(record.endpoint_id);
  if (!is_known(*world.tables, record, world.tables->vip_by_id(record.vip_id), endpoint)) return true;
  if (world.tables->is_blocked(arriving_key(record, Direction::to_endpoint).source)) return true;
  if (endpoint->state != EndpointState::ended || record.state == FlowState::ended) return false;
  if (record.protocol != protocol::tcp) return true;
  mark_ended(world, record);
  return false;
}

void expire_flows(World& world) {
  // Owed are records times milliseconds, so that no remainder is lost or paid twice. A busy lcore catches up over many
  // bursts; more than one round is never owed.
  const std::uint64_t capacity = world.flows.capacity();
  world.sweep_debt = std::min(world.sweep_debt + (world.now.ms - world.swept.ms) * capacity, capacity * sweep_round_ms);
  world.swept = world.now;
  const std::uint64_t paid = std::min(world.sweep_debt / sweep_round_ms, sweep_count_max);
  if (paid == 0) return;
  world.sweep_debt -= paid * sweep_round_ms;
  const NodeRow& node = world.tables->node();
  const bool is_snapshot_new = world.unchecked_count > 0;  // for the records of this round
  world.unchecked_count -= std::min(world.unchecked_count, paid);
  world.flows.sweep(
      static_cast<std::uint32_t>(paid),
      [&](FlowRecord& record) {
        return (is_expired(record, node, world.now) && !is_pending(world, record)) ||
               (is_snapshot_new && is_over_since_snapshot(world, record));
      },
      [&](FlowRecord& record) {
        const VipRow* vip = world.tables->vip_by_id(record.vip_id);
        if (vip != nullptr && vip->is_reset_on_expiry != 0 && is_open_at_both_ends(record) &&
            record.protocol == protocol::tcp && is_expired(record, node, world.now)) {
          return end_flow(world, record);
        }
        close_flow(world, record);
      });
}

// Every pending splice is looked at once in this time, so its timers are late by at most as much.
void check_pending_splices(World& world) {
  const std::uint64_t owed = (world.now.ms - world.pending_checked.ms) * world.pending.used_end() / pending_round_ms;
  if (owed == 0 && world.now < world.pending_checked + Milliseconds{pending_round_ms}) return;
  world.pending_checked = world.now;
  world.pending.sweep(static_cast<std::uint32_t>(std::min<std::uint64_t>(owed + 1, world.pending.used_end())),
                      [&](PendingSplice& pending) { attend_to_pending(world, pending); });
}

void give_up_on(World& world, std::uint16_t index) {
  HeldPacket held;
  while (world.released.room() > 0 && world.neighbors.take_held(index, held)) {
    *world.released.add() = {held.handle, held.bytes, 0, Verdict::drop_neighbor_unresolved};
  }
  if (world.neighbors[index].held_count == 0) world.neighbors.forget(index);
}

bool is_hopeless(const Neighbor& neighbor, Instant now) {
  const bool is_unused = ms_since(neighbor.used_stamp, now) >= neighbor_unused_ms;
  const bool is_silent =
      neighbor.probes >= neighbor_probes_max && ms_since(neighbor.probed_stamp, now) >= neighbor_retry_ms;
  // However many others there are to ask for, nothing waits longer than this.
  const bool is_overdue = neighbor.state == NeighborState::incomplete &&
                          ms_since(neighbor.confirmed_stamp, now) >= neighbor_probes_max * neighbor_retry_ms;
  return is_unused || is_silent || is_overdue;
}

bool is_to_be_asked(const Neighbor& neighbor, Instant now) {
  // A stale entry that nobody uses is left alone until it is used again or forgotten.
  const bool is_wanted =
      neighbor.state == NeighborState::incomplete ||
      (neighbor.state == NeighborState::stale && ms_since(neighbor.used_stamp, now) <= neighbor_reachable_ms);
  return is_wanted && neighbor.probes < neighbor_probes_max &&
         (neighbor.probes == 0 || ms_since(neighbor.probed_stamp, now) >= neighbor_retry_ms);
}

void check_neighbors(World& world) {
  if (world.now < world.neighbors_checked + neighbor_check_interval) return;
  world.neighbors_checked = world.now;
  const std::uint16_t count = world.neighbors.count_used();
  bool has_room = true;
  const std::uint16_t first = world.neighbor_next < count ? world.neighbor_next : std::uint16_t{0};
  for (std::uint16_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::uint16_t>((first + i) % count);
    Neighbor& neighbor = world.neighbors[index];
    if (neighbor.port == exception_port) continue;
    if (neighbor.state == NeighborState::reachable &&
        ms_since(neighbor.confirmed_stamp, world.now) >= neighbor_reachable_ms) {
      neighbor.state = NeighborState::stale;
    }
    if (neighbor.state == NeighborState::unused || neighbor.state == NeighborState::reachable) continue;
    if (is_hopeless(neighbor, world.now)) {
      give_up_on(world, index);
    } else if (has_room && is_to_be_asked(neighbor, world.now)) {
      has_room = ask_for_neighbor(world, neighbor) || world.generated.room() > 0;
      if (!has_room) {
        world.neighbor_next = index;
        continue;
      }
      ++neighbor.probes;
      neighbor.probed_stamp = world.now.stamp();
    }
  }
}

// `passed` is told of each stage that the burst has behind it.
template <class Passed>
void run_stages(World& world, Burst& burst, Passed passed) {
  parse(world, burst);
  passed(Stage::parse);
  const std::uint32_t missing_count = find_flow(world, burst);
  passed(Stage::find_flow);
  if (missing_count > 0) {  // packets of no known flow: few, once a burst is warm
    classify(world, burst);
    passed(Stage::classify);
  }
  if (world.has_packet_limits) [[unlikely]] {
    limit_packets(world, burst);
    passed(Stage::limit_packets);
  }
  if (missing_count > 0) {
    if (world.peek_count > 0) {
      peek(world, burst);
      passed(Stage::peek);
    }
    open_flow(world, burst);
    passed(Stage::open_flow);
  }
  rewrite(world, burst);
  passed(Stage::rewrite);
  resolve_next_hop(world, burst);
  passed(Stage::next_hop);
}

[[gnu::noinline]] void process_watched(World& world, Burst& burst) {
  Watch& watch = *world.watch;
  watch.arrived(burst);
  run_stages(world, burst, [&](Stage stage) { watch.passed(stage, burst); });
  watch.processed(burst);
}

// Fragments whose first did not come.
void give_up_fragments(World& world) {
  world.fragments.expire(world.now, world.tables->node().fragment_timeout_ms);
  HeldFragment lost;
  while (world.released.room() > 0 && world.fragments.take_lost(lost)) {
    *world.released.add() = {lost.handle, lost.bytes, 0, Verdict::drop_fragment_unclaimed};
  }
}

}  // namespace

void process_burst(World& world, Burst& burst) {
  if (world.watch != nullptr) [[unlikely]] return process_watched(world, burst);
  run_stages(world, burst, [](Stage) {});
}

void maintain(World& world) {
  expire_flows(world);
  give_up_fragments(world);
  check_pending_splices(world);
  world.cookie_switches.review({world.counters, world.shared_limits.counters}, *world.tables, world.now);
  check_neighbors(world);
}

void adopt_snapshot(World& world) {
  if (world.tables->node().routes_check != world.routes_check) {
    world.routes_check = world.tables->node().routes_check;
    world.neighbors.raise_epoch();  // routes may lead elsewhere
  }
  world.unchecked_count = world.flows.capacity();
  world.flow_limits.follow(*world.tables, world.counters);
  const auto limits = world.tables->vip_limits();
  world.has_packet_limits = std::any_of(limits.begin(), limits.end(), [](const VipLimitsRow& row) {
    return row.packets.interval_ns != 0 || row.source_packets.interval_ns != 0;
  });
  const auto clusters = world.tables->clusters();
  world.has_probes = world.has_exception_port &&
                     std::any_of(clusters.begin(), clusters.end(),
                                 [](const ClusterRow& cluster) { return is_dsr(cluster.forwarding); });
  world.is_rss_stable = std::all_of(world.tables->ports().begin(), world.tables->ports().end(),
                                    [](const PortRow& port) { return port.is_rss_stable != 0; });
  world.mtu_min = frame_bytes_max;
  for (const PortFacts& port : world.ports) {
    if (port.is_present) world.mtu_min = std::min(world.mtu_min, port.mtu);
  }
}

void close_flow(World& world, FlowRecord& record) {
  if (is_half_open(record)) world.counters.vips[record.vip_id].half_open.subtract(1);
  leave_vip(world, record.vip_id);
  leave_endpoint(world, record.endpoint_id);
  if ((record.flags & flow_flag::is_spliced) != 0) forget_splice(world, record);
  world.flows.close(record);
}

bool announce(World& world, std::size_t& cursor, std::span<const IpAddress> addresses) {
  const Snapshot& tables = *world.tables;
  for (; cursor < addresses.size() * tables.ports().size(); ++cursor) {
    const IpAddress address = addresses[cursor / tables.ports().size()];
    const auto port = static_cast<std::uint16_t>(cursor % tables.ports().size());
    // Only where hosts take the address for a neighbour: on the link whose network holds it.
    const AddressRow* own = tables.source_for(address, port);
    if (own == nullptr || !IpPrefix::of(own->address, own->prefix_length).contains(address)) continue;
    if (world.generated.room() == 0) return false;
    announce_address(world, address, port);
  }
  return true;
}

void count_verdicts(World& world, Burst& burst) {
  if (world.watch != nullptr) [[unlikely]] world.watch->ended(world, burst);
  std::uint64_t forwarded = 0;
  for (const Packet& packet : burst.all()) {
    if (packet.verdict == Verdict::forward) [[likely]] {
      ++forwarded;
      continue;
    }
    LB_ASSERT(packet.verdict != Verdict::undecided);
    world.counters.of(packet.verdict).add(1);
    if (!is_drop(packet.verdict) && !is_reject(packet.verdict)) continue;
    if (packet.vip != nullptr) {
      world.counters.vips[packet.vip->id].dropped.add(1);
    } else if (packet.flow != nullptr) {
      world.counters.vips[packet.flow->vip_id].dropped.add(1);
    }
  }
  world.counters.of(Verdict::forward).add(forwarded);
}

}  // namespace sluice
