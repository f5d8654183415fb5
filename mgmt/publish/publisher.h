// Publisher: keeps the dataplane at the snapshot that mgmt wants it to have.
//
// Has a thread of its own, so that a stopped dataplane never stalls mgmt. Only the newest snapshot
// counts: one that waits is replaced, not queued. It connects again with growing pauses, asks for
// the dataplane's generation twice a second, and publishes anew when that is not the wanted one. A
// snapshot that the dataplane refuses is tried again every five seconds, for what it misses may
// come (an interface). When the dataplane is ahead (mgmt lost its state), the owner must publish
// above that generation.
//
// Threads: all methods may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/tables/snapshot_writer.h"

namespace sluice {

struct PublishStatus {
  bool is_connected = false;
  std::uint64_t wanted_generation = 0;
  std::uint64_t acknowledged_generation = 0;  // of the running dataplane; 0: none
  std::uint64_t refused_generation = 0;       // the last one it refused
  std::string error;                          // why it is not connected, or why it refused
  std::vector<std::string>
      restart_required;             // what only takes effect when the dataplane is restarted
  std::uint64_t publish_count = 0;  // snapshots sent, for tests of "no storm"
};

class Publisher {
 public:
  explicit Publisher(std::string socket_path);
  Publisher(Publisher&&) noexcept;
  ~Publisher();

  // `is_known`: the dataplane had acknowledged exactly these bytes under this generation before
  // mgmt was restarted; it is sent only when the dataplane shows another generation.
  void publish(std::shared_ptr<const SnapshotBuffer> snapshot, std::uint64_t generation,
               bool is_known = false);

  // Until the dataplane has acknowledged or refused `generation`, or cannot be reached, or time is
  // up.
  PublishStatus wait_for(std::uint64_t generation, Milliseconds timeout) const;
  PublishStatus status() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
