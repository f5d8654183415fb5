// Dataplane: the process around the engine. It holds the run directory, answers the control socket from its
// first moment on, and starts the engine as soon as there is a snapshot: the one that was last in force, or the
// first that is published.
//
// Rule for a published snapshot: its generation must differ from the one in force (a lower one is taken too: a
// rolled back or reinstalled mgmt counts anew). The same generation with the same bytes is acknowledged again,
// with other bytes refused.
// Threads: the control thread, which is the process's first.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/lcore/alarms.h"
#include "dataplane/lcore/engine.h"
#include "dataplane/lcore/watching.h"

namespace sluice {

struct DataplaneOptions {
  std::string run_dir = "/run/sluice";
  std::string state_dir = "/var/lib/sluice";
  std::string flow_file;    // empty: /dev/hugepages/sluice-<basename of run_dir>-flows
  std::string bpf_dir;      // of xdp_redirect.bpf.o and kernel_guard.bpf.o; empty: beside the executable, or installed

  // An error is the sentence to print; with `--help` and `--version` the text.
  static Result<DataplaneOptions> parse(int argc, char** argv);
};

class Dataplane {
 public:
  static Result<std::unique_ptr<Dataplane>> create(DataplaneOptions options);
  // Until `shutdown`, SIGTERM or SIGINT. A graceful shutdown opens no more flows and ends when those that are open have, or
  // at its deadline; the next process takes up those that are left then, as after any end.
  void run();

 private:
  explicit Dataplane(DataplaneOptions options) : options_(std::move(options)) {}
  void load_saved();
  Result<void> begin(std::unique_ptr<Published> first);
  std::string handle(ControlRequest& request);
  std::string publish(ControlRequest& request);
  Result<void> put_in_force(SnapshotMemory memory);
  std::string refuse(const Error& error);
  std::string shut_down(const ControlRequest& request);
  void leave_when_idle();
  std::string status() const;
  void watch_limits();

  DataplaneOptions options_;
  Fd lock_;
  std::optional<ControlServer> server_;
  std::unique_ptr<Engine> engine_;
  std::optional<Watching> watching_;  // as long as engine_
  Alarms alarms_;
  std::uint64_t started_ms_ = 0;
  std::uint64_t refused_count_ = 0;
  std::string refused_reason_;
  std::optional<std::uint64_t> leaves_by_ms_;  // monotonic; a graceful shutdown is on
  bool is_ending_ = false;
};

}  // namespace sluice
