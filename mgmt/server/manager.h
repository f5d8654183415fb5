// Manager: the committed configuration and everything that changes it.
//
// A change goes candidate -> validate -> compile -> publish -> disk, and is refused whole or done
// whole. When the dataplane does not run, a change is committed all the same and published when it
// comes back; when it runs and refuses, nothing is committed.
//
// Threads: one, that of mgmt's main loop. The prober and the publisher have threads of their own
// and hand over through a queue and a status.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/base/units.h"
#include "mgmt/commit/state_dir.h"
#include "mgmt/compile/compile.h"
#include "mgmt/compile/consequences.h"
#include "mgmt/health/verdicts.h"
#include "mgmt/model/config_error.h"
#include "mgmt/model/objects.h"
#include "mgmt/model/profiles.h"
#include "mgmt/publish/publisher.h"
#include "mgmt/stats/dataplane_counters.h"
#include "mgmt/text/config_reader.h"

namespace sluice {

struct Change {
  std::string action;  // "add", "change", "remove", "unchanged"
  ObjectKey object;
  std::vector<std::string> lines;  // the difference as text
};

struct ChangeResult {
  std::vector<ConfigError> errors;  // not empty: nothing was changed
  std::vector<Change> changes;
  std::vector<std::string> consequences;
  std::vector<std::string> warnings;
  std::uint64_t generation = 0;
};

struct DrainResult {
  bool is_changed = false;
  std::optional<std::uint64_t> flows_active;  // nothing when the dataplane does not answer
  std::vector<std::string> warnings;
};

struct ManagerOptions {
  std::string run_dir;
  std::string state_dir;
  std::string profiles_dir;
  bool checks_host_addresses = true;
};

class Manager {
 public:
  // Loads what was committed; an error is for the operator and ends the process.
  static Result<std::unique_ptr<Manager>> create(ManagerOptions options);
  ~Manager();

  // Merges the objects of the files into the configuration; `is_replacing` makes them all of it.
  ChangeResult apply(const std::vector<SourceFile>& files, bool is_replacing, bool is_dry_run);
  ChangeResult remove(const ObjectKey& key);
  Result<DrainResult> set_draining(const ObjectKey& endpoint, bool is_draining);

  // Readable when tick() has something to do at once.
  int wakeup_fd() const;
  // How long the caller may sleep.
  Milliseconds patience() const;
  // Takes in health verdicts and publishes what they change: the first at once, those that follow
  // within some milliseconds together.
  void tick(Instant now);
  // Publishes what waits and gives the dataplane a moment to acknowledge it, so that what is shown
  // to an operator is what the dataplane does.
  void settle();

  const ObjectStore& objects() const;
  const HealthRecords& health() const;
  const Drains& drains() const;
  // How long the flows of a drained endpoint may still stay; nothing when it is not drained or they may take their time.
  std::optional<Milliseconds> drain_left(const ObjectKey& endpoint) const;
  const IdMap& ids() const;
  std::uint64_t generation() const;
  PublishStatus publish_status() const;
  Result<DataplaneCounters> counters() const;

 private:
  struct State;
  explicit Manager(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
