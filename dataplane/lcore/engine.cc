#include "dataplane/lcore/engine.h"

#include <errno.h>
#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <algorithm>

#include "dataplane/base/log.h"
#include "dataplane/io/eal.h"
#include "dataplane/lcore/clock.h"
#include "dataplane/pipeline/take_over.h"

namespace sluice {
namespace {

constexpr unsigned ring_count_max = 1'024;               // packets on their way from one lcore to another
constexpr std::uint64_t take_over_ns_max = 2'000'000'000;  // a worker passes between bursts every few microseconds

int run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

template <class T>
Result<T> random_value() {
  T value;
  if (getrandom(&value, sizeof value, 0) != sizeof value) return fail(fmt::format("getrandom: {}", strerror(errno)));
  return value;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(std::unique_ptr<Published> first, const EnginePaths& paths) {
  std::unique_ptr<Engine> engine(new Engine());
  engine->published_.push_back(std::move(first));
  engine->started_with_ = &engine->tables();
  const Snapshot& tables = engine->tables();
  const std::uint32_t worker_count = tables.node().worker_count;
  if (auto checked = check_ports(tables); !checked) return tl::unexpected(checked.error());
  if (auto started = start_eal(tables); !started) return tl::unexpected(started.error());
  if (auto opened = engine->open_flows(paths.flow_file); !opened) return tl::unexpected(opened.error());
  auto ports = Ports::open(tables, paths.bpf_dir);
  if (!ports) return tl::unexpected(ports.error());
  engine->ports_.emplace(std::move(*ports));
  std::vector<std::string> interfaces;
  for (std::size_t slot = 0; slot < engine->ports_->count(); ++slot) interfaces.push_back((*engine->ports_)[slot].interface);
  auto links = LinkWatch::start(interfaces);
  if (!links) return tl::unexpected(links.error());
  engine->links_ = std::move(*links);
  if (auto adopted = engine->adopt_flows(); !adopted) return tl::unexpected(adopted.error());
  engine->published_.back()->slot_of_row = engine->ports_->slot_of_row(tables);
  engine->published_.back()->new_addresses = tables.local_addresses();
  if (const auto interface = tables.name(tables.node().exception_interface); !interface.empty()) {
    auto opened = ExceptionPort::open(*engine->ports_, tables, std::string(interface));
    if (!opened) return tl::unexpected(opened.error());
    engine->exception_.emplace(std::move(*opened));
  }
  if (auto opened = engine->open_rings(worker_count); !opened) return tl::unexpected(opened.error());

  const std::size_t readers_bytes = rte_rcu_qsbr_get_memsize(worker_count);
  auto* readers = static_cast<rte_rcu_qsbr*>(std::aligned_alloc(64, (readers_bytes + 63) / 64 * 64));
  rte_rcu_qsbr_init(readers, worker_count);
  engine->readers_ = {readers, [](rte_rcu_qsbr* memory) { std::free(memory); }};
  engine->current_.store(engine->published_.back().get(), std::memory_order_release);  // pairs with adopt_newest

  for (std::size_t slot = 0; slot <= engine->ports_->count(); ++slot) {
    engine->locks_.push_back(std::make_unique<QueueLock>());
  }
  for (std::uint32_t i = 0; i < worker_count; ++i) {
    engine->workers_.push_back(std::make_unique<Worker>(engine->plan_for(i, worker_count),
                                                        std::move(engine->worlds_[i]), engine->current_, readers));
  }
  for (std::uint32_t i = 0; i < worker_count; ++i) {
    rte_eal_remote_launch(run_worker, engine->workers_[i].get(), lcore_of_worker(i));
  }
  if (!engine->wait_until_taken()) return fail("a worker lcore does not start: is its CPU held by a real-time task?");
  return engine;
}

Engine::~Engine() {
  for (auto& worker : workers_) worker->stop();
  for (std::uint32_t i = 0; i < workers_.size(); ++i) rte_eal_wait_lcore(lcore_of_worker(i));
  for (rte_ring* ring : rings_) {
    if (ring == nullptr) continue;
    void* mbuf = nullptr;
    while (rte_ring_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
    rte_ring_free(ring);
  }
}

Result<void> Engine::open_flows(const std::string& path) {
  const Snapshot& tables = this->tables();
  const std::uint32_t lcore_count = tables.node().worker_count;
  auto file = FlowFile::open(path, {tables.node().flow_capacity, lcore_count, tables.node().splice_capacity});
  if (!file) return tl::unexpected(file.error());
  flow_file_.emplace(std::move(*file));
  if (!flow_file_->fresh_reason().empty()) {
    log_warning("flow records: {}: not taken over, all flows begin anew: {}", path, flow_file_->fresh_reason());
  }
  hold_named_clients(*published_.back());
  return {};
}

// Only who has proxies before him pays for what they say of their clients.
void Engine::hold_named_clients(Published& next) {
  const auto vips = next.tables.vips();
  if (std::any_of(vips.begin(), vips.end(), [](const VipRow& vip) { return vip.proxies != 0; })) {
    if (auto held = flow_file_->hold_named_clients(); !held) {
      log_warning("clients named by PROXY headers are not shown: {}", held.error().message);
    }
  }
  next.named_clients.clear();
  for (std::uint32_t lcore = 0; lcore < started_with_->node().worker_count; ++lcore) {
    next.named_clients.push_back(flow_file_->named_clients_of(lcore));
  }
}

std::optional<NamedClient> Engine::named_client_of(std::uint32_t lcore, const FlowRecord& flow) const {
  return find_named_client(flow, flow_file_->splices_of(lcore), flow_file_->named_clients_of(lcore));
}

Result<void> Engine::adopt_flows() {
  const Snapshot& tables = this->tables();
  const std::uint32_t lcore_count = tables.node().worker_count;
  const auto replies = ports_->replies();
  // New for each process: nobody outside can know which keys share a bucket.
  const auto secret = random_value<HashSecret>();
  if (!secret) return tl::unexpected(secret.error());
  const auto cookie_secret = random_value<SipKey>();
  if (!cookie_secret) return tl::unexpected(cookie_secret.error());

  const auto source_secret = random_value<HashSecret>();
  if (!source_secret) return tl::unexpected(source_secret.error());
  shared_limits_ = std::make_unique<SharedLimits>(*source_secret);
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
    const auto seed = random_value<std::uint64_t>();
    if (!seed) return tl::unexpected(seed.error());
    worlds_.push_back(std::make_unique<World>(Conntrack(flow_file_->records_of(lcore), *secret), lcore, lcore_count, *shared_limits_));
    World& world = *worlds_.back();
    world.replies = replies;
    world.snat_ports = SnatPorts(*seed);
    world.random_state = *seed | 1;
    world.cookie_secret = *cookie_secret;
    world.splices = Splices(flow_file_->splices_of(lcore), flow_file_->named_clients_of(lcore));
  }
  flows_adopted_ = take_over(tables, worlds_, flow_file_->is_adoptable(), flow_file_->take_leftovers());
  return {};
}

Result<void> Engine::open_rings(std::uint32_t lcore_count) {
  rings_.resize(std::size_t{lcore_count} * lcore_count, nullptr);
  for (std::uint32_t from = 0; from < lcore_count; ++from) {
    for (std::uint32_t to = 0; to < lcore_count; ++to) {
      if (from == to) continue;
      const std::string name = fmt::format("handoff_{}_{}", from, to);
      rte_ring* ring = rte_ring_create(name.c_str(), ring_count_max, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
      if (ring == nullptr) return fail(fmt::format("no memory for the ring between lcores: {}", rte_strerror(rte_errno)));
      rings_[from * lcore_count + to] = ring;
    }
  }
  return {};
}

WorkerPlan Engine::plan_for(std::uint32_t worker, std::uint32_t worker_count) {
  WorkerPlan plan;
  plan.settle.pool = ports_->pool();
  plan.settle.jumbo_pool = ports_->jumbo_pool();
  for (std::uint16_t slot = 0; slot < ports_->count(); ++slot) {
    const Port& port = (*ports_)[slot];
    for (std::uint16_t queue = 0; queue < port.queue_count; ++queue) {
      if (queue % worker_count == worker) plan.queues.push_back({port.ethdev, queue, slot});
    }
    const bool is_queue_shared = worker_count > port.queue_count;
    plan.settle.ports.push_back({port.ethdev, static_cast<std::uint16_t>(worker % port.queue_count),
                                 is_queue_shared ? locks_[slot].get() : nullptr, links_->state_of(slot)});
    plan.ports.push_back({port.mac, port.mtu, 0, 0, true});
  }
  if (exception_) {
    plan.has_exception_port = true;
    plan.exception_mac = exception_->kernel_mac();
    plan.exception_mtu = exception_->mtu();
    plan.settle.exception = TxQueue{exception_->ethdev(), 0, worker_count > 1 ? locks_.back().get() : nullptr};
    if (worker == 0) plan.exception = RxQueue{exception_->ethdev(), 0, 0};
  }
  for (std::uint32_t other = 0; other < worker_count; ++other) {
    plan.settle.rings.push_back(rings_[worker * worker_count + other]);
    plan.rings.push_back(rings_[other * worker_count + worker]);
  }
  return plan;
}

bool Engine::wait_until_taken() {
  // Each worker reports at the end of a loop at whose beginning it looked at current_: once all have reported since
  // now, none holds an older one.
  const std::uint64_t token = rte_rcu_qsbr_start(readers_.get());
  const std::uint64_t deadline_ns = monotonic_ns() + take_over_ns_max;
  const auto is_taken = [&] {
    for (const auto& worker : workers_) {
      if (!worker->is_registered()) return false;
    }
    return rte_rcu_qsbr_check(readers_.get(), token, false) == 1;
  };
  while (!is_taken()) {
    if (monotonic_ns() > deadline_ns) return false;
    const timespec duration{0, 20'000};
    nanosleep(&duration, nullptr);
  }
  return true;
}

Result<void> Engine::publish(std::unique_ptr<Published> next) {
  next->slot_of_row = ports_->slot_of_row(next->tables);
  hold_named_clients(*next);
  auto before = tables().local_addresses(), after = next->tables.local_addresses();
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(), std::back_inserter(next->new_addresses));
  published_.push_back(std::move(next));
  current_.store(published_.back().get(), std::memory_order_release);  // pairs with Worker::adopt_newest
  if (!wait_until_taken()) {
    return fail("a worker lcore has not taken the new tables within 2 s: is its CPU held by a real-time task?");
  }
  if (started_with_ == &published_.front()->tables && !first_copy_) {
    first_copy_ = std::move(published_.front());  // restart_required is measured against it
  }
  published_.erase(published_.begin(), published_.end() - 1);
  // After the workers: what the XDP programs send us, they know.
  if (auto served = ports_->serve_addresses(tables()); !served) return served;
  if (exception_) {
    if (auto served = exception_->serve_addresses(tables()); !served) return served;
  }
  return {};
}

bool Engine::show_watch(std::span<Watch* const> by_worker) {
  for (std::size_t i = 0; i < workers_.size(); ++i) workers_[i]->show_watch(by_worker[i]);
  return wait_until_taken();
}

void Engine::look_around() {
  std::array<std::uint64_t, ports_max> arrived{}, handed{};  // by slot: a sub-interface has the queues of its parent
  const auto slots = ports_->slot_of_row(tables());
  for (std::size_t row = 0; row < tables().ports().size(); ++row) {
    if (!slots[row]) continue;
    for (const auto& worker : workers_) {
      arrived[*slots[row]] += worker->world().counters.first_replies[row].read();
      handed[*slots[row]] += worker->world().counters.first_replies_handed[row].read();
    }
  }
  for (std::size_t slot = 0; slot < ports_->count(); ++slot) ports_->observe_replies(slot, arrived[slot], handed[slot]);
  if (!ports_->has_host_changed()) return;
  if (auto served = ports_->serve_addresses(tables()); !served) log_warning("{}", served.error().message);
}

std::uint64_t Engine::flows_capacity() const {
  std::uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->world().flows.capacity();
  return count;
}

}  // namespace sluice
