// Worker: the loop of one lcore. It receives, runs the pipeline, settles; it takes new snapshots between two
// bursts and says to RCU that it holds no old one.
//
// Threads: run() on its lcore; the constructor, stop() and the const methods on the control thread.
// copy_neighbors() asks the lcore for a copy: its table has one reader.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/lcore/published.h"
#include "dataplane/lcore/settle.h"
#include "dataplane/pipeline/world.h"

struct rte_rcu_qsbr;

namespace sluice {

struct RxQueue {
  std::uint16_t ethdev = 0;
  std::uint16_t queue = 0;
  std::uint16_t slot = 0;
};

struct WorkerPlan {
  std::vector<RxQueue> queues;            // this worker's
  std::optional<RxQueue> exception;       // worker 0 only
  std::vector<rte_ring*> rings;           // from other lcores, by lcore; nullptr for oneself
  std::vector<PortFacts> ports;           // by slot
  MacAddress exception_mac{};
  std::uint16_t exception_mtu = 0;
  bool has_exception_port = false;
  SettlePlan settle;
};

class Worker {
 public:
  Worker(WorkerPlan plan, std::unique_ptr<World> world, const std::atomic<const Published*>& current,
         rte_rcu_qsbr* readers);

  void run();  // until stop()
  void stop() { is_stopping_.store(true, std::memory_order_release); }  // pairs with the acquire in run()

  bool is_registered() const { return is_registered_.load(std::memory_order_acquire); }  // pairs with run()

  // From its next burst on: it goes on with the flows that it has and opens none.
  void show_leaving(bool is_leaving) { is_leaving_.store(is_leaving, std::memory_order_relaxed); }

  // What it shall note from its next burst on; nullptr for nothing. It may look at the one before until RCU says not.
  void show_watch(Watch* watch) { watch_.store(watch, std::memory_order_release); }  // pairs with the acquire in run()

  const World& world() const { return *world_; }  // counters and records only, while run() is on
  const Settler& settler() const { return settler_; }
  // A copy of the neighbour table, made by the lcore between two bursts. False when it does not answer in time.
  bool copy_neighbors(std::vector<Neighbor>& copy, Milliseconds wait);

 private:
  void adopt_newest();
  void receive(Burst& burst);
  void receive_resumed(Burst& burst);
  void receive_from_ring(Burst& burst, rte_ring* ring);
  void receive_from_port(Burst& burst, const RxQueue& queue, std::uint16_t row);
  void answer_copy_request();

  WorkerPlan plan_;
  std::unique_ptr<World> world_;
  const std::atomic<const Published*>& current_;
  const Published* published_ = nullptr;
  rte_rcu_qsbr* readers_;
  Settler settler_;
  std::array<std::uint16_t, ports_max> row_of_slot_{};
  std::vector<std::uint16_t> row_of_ethdev_;
  std::size_t first_queue_ = 0;
  std::size_t announce_cursor_ = 0;
  bool is_announcing_ = false;
  Instant announced_;
  std::atomic<bool> is_registered_{false};
  std::atomic<bool> is_stopping_{false};
  std::atomic<bool> is_leaving_{false};
  std::atomic<Watch*> watch_{nullptr};
  std::atomic<std::vector<Neighbor>*> copy_request_{nullptr};
  std::vector<Neighbor> copy_;
};

}  // namespace sluice
