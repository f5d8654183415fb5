#include "dataplane/lcore/worker.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <sys/prctl.h>
#include <time.h>

#include "dataplane/lcore/backoff.h"
#include "dataplane/lcore/clock.h"
#include "dataplane/lcore/received.h"
#include "dataplane/pipeline/watch.h"

namespace sluice {
namespace {

constexpr std::uint16_t no_port = 0xffff;
constexpr std::uint32_t rx_room_min = 4;  // some drivers receive in fours
constexpr std::uint32_t handed_in_max = burst_count_max / 2;  // of a burst: the rest is for our own ports

}  // namespace

Worker::Worker(WorkerPlan plan, std::unique_ptr<World> world, const std::atomic<const Published*>& current,
               rte_rcu_qsbr* readers)
    : plan_(std::move(plan)),
      world_(std::move(world)),
      current_(current),
      readers_(readers),
      settler_(plan_.settle),
      row_of_ethdev_(RTE_MAX_ETHPORTS, no_port) {
  world_->exception_mac = plan_.exception_mac;
  world_->has_exception_port = plan_.has_exception_port;
}

void Worker::adopt_newest() {
  const Published* newest = current_.load(std::memory_order_acquire);  // pairs with Dataplane::publish
  if (newest == published_) [[likely]] return;
  published_ = newest;
  world_->tables = &newest->tables;
  if (!newest->named_clients.empty()) world_->splices.hold_named_clients(newest->named_clients[world_->lcore]);
  row_of_slot_.fill(no_port);
  world_->ports.fill(PortFacts{});
  for (std::uint16_t row = 0; row < ports_max; ++row) {
    const auto slot = newest->slot_of_row[row];
    if (!slot) continue;
    const PortRow& port = newest->tables.ports()[row];
    PortFacts& facts = world_->ports[row];
    facts = plan_.ports[*slot];
    facts.parent = port.is_sub_interface() ? port.parent : row;
    if (!port.is_sub_interface()) {
      row_of_slot_[*slot] = row;
      continue;
    }
    facts.vlan = port.vlan;
    facts.mtu = std::min(facts.mtu, port.mtu);
  }
  if (plan_.has_exception_port) world_->ports[exception_port] = {exception_gateway_mac, plan_.exception_mtu, 0, exception_port, true};
  for (const RxQueue& queue : plan_.queues) row_of_ethdev_[queue.ethdev] = row_of_slot_[queue.slot];
  for (std::size_t slot = 0; slot < plan_.settle.ports.size(); ++slot) {
    row_of_ethdev_[plan_.settle.ports[slot].ethdev] = row_of_slot_[slot];
  }
  if (plan_.has_exception_port) row_of_ethdev_[plan_.settle.exception->ethdev] = exception_port;
  settler_.bind(newest->slot_of_row);
  adopt_snapshot(*world_);
  is_announcing_ = world_->lcore == 0 && !newest->new_addresses.empty();
  announce_cursor_ = 0;
}

void Worker::receive_from_ring(Burst& burst, rte_ring* ring) {
  std::array<void*, burst_count_max> mbufs;
  const unsigned count = rte_ring_sc_dequeue_burst(ring, mbufs.data(), handed_in_max - burst.count, nullptr);
  for (unsigned i = 0; i < count; ++i) {
    auto* mbuf = static_cast<rte_mbuf*>(mbufs[i]);
    // A port that has left the configuration meanwhile: index 0 is as good as any, the packet finds no route there.
    const std::uint16_t row = row_of_ethdev_[mbuf->port];
    add_received(burst, *mbuf, row == no_port ? 0 : row, hops_of(*mbuf));
  }
  world_->counters.handed_in.add(count);
}

// Fragments whose datagram's first has come.
void Worker::receive_resumed(Burst& burst) {
  HeldFragment fragment;
  while (burst.count < handed_in_max && world_->fragments.take_ready(fragment)) {
    add_received(burst, *static_cast<rte_mbuf*>(fragment.handle), fragment.port, fragment.hops);
    burst.packets[burst.count - 1].is_resumed = true;
    world_->counters.released.add(1);
  }
}

void Worker::receive_from_port(Burst& burst, const RxQueue& queue, std::uint16_t row) {
  const std::uint32_t room = burst_count_max - burst.count;
  if (room < rx_room_min) return;
  std::array<rte_mbuf*, burst_count_max> mbufs;
  const std::uint16_t count =
      rte_eth_rx_burst(queue.ethdev, queue.queue, mbufs.data(), static_cast<std::uint16_t>(room));
  for (std::uint16_t i = 0; i < count; ++i) {
    mbufs[i]->port = queue.ethdev;
    add_received(burst, *mbufs[i], row, 0);
  }
  world_->counters.received.add(count);
}

void Worker::receive(Burst& burst) {
  receive_resumed(burst);
  // Another ring and another queue come first each time: a flood on one leaves room for the others.
  const std::size_t rings = plan_.rings.size();
  for (std::size_t i = 0; i < rings; ++i) {
    rte_ring* ring = plan_.rings[(first_queue_ + i) % rings];
    if (ring != nullptr && burst.count < handed_in_max) receive_from_ring(burst, ring);
  }
  const std::size_t count = plan_.queues.size();
  for (std::size_t i = 0; i < count; ++i) {
    const RxQueue& queue = plan_.queues[(first_queue_ + i) % count];
    if (row_of_slot_[queue.slot] != no_port) receive_from_port(burst, queue, row_of_slot_[queue.slot]);
  }
  ++first_queue_;
  if (plan_.exception) receive_from_port(burst, *plan_.exception, exception_port);
}

void Worker::run() {
  prctl(PR_SET_TIMERSLACK, 1'000);  // ns; the default of 50 us would double every short sleep
  TscClock clock(rte_get_tsc_hz());
  Backoff backoff;
  auto burst = std::make_unique<Burst>();
  World& world = *world_;
  rte_rcu_qsbr_thread_register(readers_, world.lcore);
  rte_rcu_qsbr_thread_online(readers_, world.lcore);
  is_registered_.store(true, std::memory_order_release);
  world.now = clock.now();
  world.swept = world.now;

  while (!is_stopping_.load(std::memory_order_acquire)) {
    world.now = clock.now();
    adopt_newest();
    world.is_leaving = is_leaving_.load(std::memory_order_relaxed);
    world.watch = watch_.load(std::memory_order_acquire);  // pairs with show_watch
    receive(*burst);
    if (world.watch != nullptr) [[unlikely]] world.watch->time_ns = unix_ns();
    const bool is_busy = burst->count > 0;
    if (is_busy) process_burst(world, *burst);
    maintain(world);
    // An outbox a millisecond: thousands of addresses must not fill the transmit queue.
    if (is_announcing_ && world.now > announced_) {
      announced_ = world.now;
      is_announcing_ = !announce(world, announce_cursor_, published_->new_addresses);
    }
    settler_.settle(world, *burst);
    rte_rcu_qsbr_quiescent(readers_, world.lcore);
    answer_copy_request();
    if (is_busy) {
      backoff.busy();
      continue;
    }
    const Backoff::Step step = backoff.idle(world.tables->node().is_idle_backoff != 0);
    if (step.is_pause) rte_pause();
    if (step.sleep_ns != 0) {
      const timespec duration{0, static_cast<long>(step.sleep_ns)};
      nanosleep(&duration, nullptr);
    }
  }
  rte_rcu_qsbr_thread_offline(readers_, world.lcore);
  rte_rcu_qsbr_thread_unregister(readers_, world.lcore);
}

void Worker::answer_copy_request() {
  std::vector<Neighbor>* wanted = copy_request_.load(std::memory_order_acquire);  // pairs with copy_neighbors
  if (wanted == nullptr) return;
  wanted->clear();
  for (std::uint16_t i = 0; i < world_->neighbors.count_used(); ++i) {
    if (world_->neighbors[i].state != NeighborState::unused) wanted->push_back(world_->neighbors[i]);
  }
  copy_request_.store(nullptr, std::memory_order_release);  // pairs with copy_neighbors
}

bool Worker::copy_neighbors(std::vector<Neighbor>& copy, Milliseconds wait) {
  // The buffer belongs to this object: when the answer comes too late, it harms nobody.
  if (copy_request_.load(std::memory_order_acquire) == nullptr) {
    copy_.reserve(neighbors_max);
    copy_request_.store(&copy_, std::memory_order_release);
  }
  const std::uint64_t deadline_ns = monotonic_ns() + wait.count * 1'000'000;
  while (copy_request_.load(std::memory_order_acquire) != nullptr) {
    if (monotonic_ns() > deadline_ns) return false;
    const timespec duration{0, 50'000};
    nanosleep(&duration, nullptr);
  }
  copy = copy_;
  return true;
}

}  // namespace sluice
