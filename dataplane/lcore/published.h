// Published: a verified snapshot together with its memory and with what the workers derive from it; and the
// one pointer through which the control thread shows them the newest.
//
// Threads: made, published and freed by the control thread; read by the lcores. The pointer is stored with
// release and loaded with acquire (Worker::adopt). An old one is freed when rte_rcu_qsbr says that every lcore
// has passed between two bursts since.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/flow/named_client.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

// Read-only memory of a snapshot: the mapping of a sealed memfd or of a file. Unmapped with the object.
class SnapshotMemory {
 public:
  // Demands the seals F_SEAL_WRITE, F_SEAL_SHRINK and F_SEAL_GROW: what was verified can never change.
  static Result<SnapshotMemory> of_sealed(const Fd& memfd);
  // Copies the file into memory of our own: a file has no seals.
  static Result<SnapshotMemory> of_file(const std::string& path);
  SnapshotMemory(SnapshotMemory&& other) noexcept;
  SnapshotMemory& operator=(SnapshotMemory&&) = delete;
  ~SnapshotMemory();

  std::span<const std::byte> bytes() const { return {base_, bytes_}; }

 private:
  SnapshotMemory() = default;
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Published {
  SnapshotMemory memory;
  Snapshot tables;
  // The port in this process of each row; nothing when it needs a restart to appear.
  std::array<std::optional<std::uint16_t>, ports_max> slot_of_row{};
  // What the neighbours have not heard of: worker 0 announces it. Sorted.
  std::vector<IpAddress> new_addresses;
  // By lcore, see flow_file.h: empty ones, as long as nobody wanted any. None at all where no engine publishes (perf).
  std::vector<std::span<NamedClient>> named_clients;

  static Result<std::unique_ptr<Published>> verify(SnapshotMemory memory);
};

// Written atomically: whole or not at all, also when the machine stops in between.
Result<void> save_snapshot(const Snapshot& snapshot, const std::string& path);

// What `next` wants and a process running `now` can only give after a restart; one sentence each.
std::vector<std::string> restart_reasons(const Snapshot& now, const Snapshot& next);

}  // namespace sluice
