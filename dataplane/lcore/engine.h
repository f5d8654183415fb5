// Engine: everything that exists while packets are forwarded: ports, flow records, rings, workers, and the
// published snapshot with those before it that a worker may still hold.
//
// Made once there is a snapshot, in this order, because what can be refused should be refused before anything
// is touched: EAL, flow records, ports, then each record to the lcore that steering gives it, exception port, workers.
// Threads: the control thread; the workers run on their lcores.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/flow/flow_file.h"
#include "dataplane/io/exception_port.h"
#include "dataplane/io/link_watch.h"
#include "dataplane/io/ports.h"
#include "dataplane/lcore/worker.h"

struct rte_rcu_qsbr;

namespace sluice {

struct EnginePaths {
  std::string flow_file;
  std::string bpf_dir;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> start(std::unique_ptr<Published> first, const EnginePaths& paths);
  ~Engine();  // stops the workers, closes the ports; the flow records stay in their file
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Snapshot& tables() const { return published_.back()->tables; }
  // The snapshot with which the process started: what needs a restart is measured against it.
  const Snapshot& started_with() const { return *started_with_; }
  // Shows it to the workers and returns when all have taken it. An error says that one does not come to it, or what of
  // the surroundings (XDP programs, exception port) did not follow; the tables are `next` all the same.
  Result<void> publish(std::unique_ptr<Published> next);

  // By worker; true when none of them looks at what it was shown before.
  bool show_watch(std::span<Watch* const> by_worker);

  // To be called now and then: what the host has changed around us.
  void look_around();

  const Ports& ports() const { return *ports_; }
  std::span<const std::unique_ptr<Worker>> workers() const { return workers_; }
  std::uint64_t flows_adopted() const { return flows_adopted_; }
  std::uint64_t flows_capacity() const;
  // Of a copy of a record of this lcore's.
  std::optional<NamedClient> named_client_of(std::uint32_t lcore, const FlowRecord& flow) const;

 private:
  Engine() = default;
  Result<void> open_flows(const std::string& path);
  void hold_named_clients(Published& next);
  Result<void> adopt_flows();  // where each belongs, the ports say
  Result<void> open_rings(std::uint32_t lcore_count);
  WorkerPlan plan_for(std::uint32_t worker, std::uint32_t worker_count);
  bool wait_until_taken();

  // Destroyed in reverse order: the ports before the flow file, the workers before all that they use.
  std::unique_ptr<Published> first_copy_;
  const Snapshot* started_with_ = nullptr;
  std::vector<std::unique_ptr<Published>> published_;  // the last is in force; those before it wait to be freed
  std::atomic<const Published*> current_{nullptr};
  std::unique_ptr<rte_rcu_qsbr, void (*)(rte_rcu_qsbr*)> readers_{nullptr, nullptr};
  std::optional<FlowFile> flow_file_;
  std::unique_ptr<SharedLimits> shared_limits_;
  std::vector<std::unique_ptr<World>> worlds_;         // until the workers take them
  std::uint64_t flows_adopted_ = 0;
  std::optional<Ports> ports_;
  std::unique_ptr<LinkWatch> links_;
  std::optional<ExceptionPort> exception_;
  std::vector<std::unique_ptr<QueueLock>> locks_;      // by slot; one more for the exception port
  std::vector<rte_ring*> rings_;                       // from * worker_count + to
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace sluice
