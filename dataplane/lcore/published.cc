#include "dataplane/lcore/published.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice {

SnapshotMemory::SnapshotMemory(SnapshotMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

SnapshotMemory::~SnapshotMemory() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

Result<SnapshotMemory> SnapshotMemory::of_sealed(const Fd& memfd) {
  if (!memfd) return fail("publish: no memfd came with the request");
  constexpr int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & wanted) != wanted) {
    return fail("publish: the memfd is not sealed against writing, shrinking and growing");
  }
  struct stat info {};
  if (fstat(memfd.get(), &info) != 0 || info.st_size <= 0) return fail("publish: the memfd is empty");
  if (static_cast<std::uint64_t>(info.st_size) > snapshot_bytes_max) {
    return fail(fmt::format("publish: {} bytes are above the limit of {}", info.st_size, snapshot_bytes_max));
  }
  SnapshotMemory memory;
  memory.bytes_ = static_cast<std::size_t>(info.st_size);
  void* base = mmap(nullptr, memory.bytes_, PROT_READ, MAP_SHARED | MAP_POPULATE, memfd.get(), 0);
  if (base == MAP_FAILED) return fail(fmt::format("publish: the memfd cannot be mapped: {}", strerror(errno)));
  memory.base_ = static_cast<std::byte*>(base);
  return memory;
}

Result<SnapshotMemory> SnapshotMemory::of_file(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0) return fail(fmt::format("{}: {}", path, strerror(errno)));
  if (info.st_size <= 0 || static_cast<std::uint64_t>(info.st_size) > snapshot_bytes_max) {
    return fail(fmt::format("{}: {} bytes cannot be a snapshot", path, info.st_size));
  }
  SnapshotMemory memory;
  memory.bytes_ = static_cast<std::size_t>(info.st_size);
  void* base = mmap(nullptr, memory.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return fail(fmt::format("{}: no memory for {} bytes", path, info.st_size));
  memory.base_ = static_cast<std::byte*>(base);
  std::size_t done = 0;
  while (done < memory.bytes_) {
    const ssize_t got = read(fd.get(), memory.base_ + done, memory.bytes_ - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(fmt::format("{}: ends after {} of {} bytes", path, done, memory.bytes_));
    done += static_cast<std::size_t>(got);
  }
  return memory;
}

Result<std::unique_ptr<Published>> Published::verify(SnapshotMemory memory) {
  auto tables = Snapshot::verify(memory.bytes());
  if (!tables) return tl::unexpected(tables.error());
  return std::unique_ptr<Published>(new Published{std::move(memory), *tables, {}, {}, {}});
}

Result<void> save_snapshot(const Snapshot& snapshot, const std::string& path) {
  const std::string half_done = path + ".new";
  const auto failed = [&] { return fail(fmt::format("{}: {}", half_done, strerror(errno))); };
  const Fd fd(open(half_done.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return failed();
  std::span<const std::byte> rest = snapshot.bytes();
  while (!rest.empty()) {
    const ssize_t written = write(fd.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return failed();
    rest = rest.subspan(static_cast<std::size_t>(written));
  }
  if (fdatasync(fd.get()) != 0 || rename(half_done.c_str(), path.c_str()) != 0) return failed();
  return {};
}

std::vector<std::string> restart_reasons(const Snapshot& now, const Snapshot& next) {
  std::vector<std::string> reasons;
  const NodeRow& a = now.node();
  const NodeRow& b = next.node();
  if (a.worker_count != b.worker_count || !std::equal(a.worker_cpus, a.worker_cpus + a.worker_count, b.worker_cpus)) {
    reasons.emplace_back("node.workers");
  }
  if (a.flow_capacity != b.flow_capacity) {
    reasons.push_back(fmt::format("node.flows.capacity: {} instead of {}", b.flow_capacity, a.flow_capacity));
  }
  if (a.splice_capacity != b.splice_capacity) {
    reasons.push_back(fmt::format("node.flows.splice_capacity: {} instead of {}", b.splice_capacity, a.splice_capacity));
  }
  if (now.name(a.exception_interface) != next.name(b.exception_interface)) {
    reasons.emplace_back("node.exception_port.interface");
  }
  for (const PortRow& port : next.ports()) {
    const auto is_same_name = [&](const PortRow& old) { return now.name(old.name) == next.name(port.name); };
    if (port.is_sub_interface()) continue;  // only numbers to us
    const auto old = std::find_if(now.ports().begin(), now.ports().end(), is_same_name);
    if (old == now.ports().end() || old->is_sub_interface()) {
      reasons.push_back(fmt::format("port {}: is new", next.name(port.name)));
    } else if (now.name(old->device) != next.name(port.device) || now.name(old->profile) != next.name(port.profile) ||
               now.name(old->eal_option) != next.name(port.eal_option) || old->queue_count != port.queue_count ||
               old->rx_descriptors != port.rx_descriptors || old->tx_descriptors != port.tx_descriptors ||
               old->mtu != port.mtu || old->rss_hash_fields != port.rss_hash_fields ||
               now.name(old->rss_key) != next.name(port.rss_key) || old->rss_table_size != port.rss_table_size ||
               !std::equal(std::begin(old->steering), std::end(old->steering), std::begin(port.steering))) {
      reasons.push_back(fmt::format("port {}: other settings", next.name(port.name)));
    }
  }
  for (const PortRow& port : now.ports()) {
    const auto is_same_name = [&](const PortRow& row) { return next.name(row.name) == now.name(port.name); };
    if (port.is_sub_interface()) continue;
    if (std::none_of(next.ports().begin(), next.ports().end(), is_same_name)) {
      reasons.push_back(fmt::format("port {}: is gone; it is no longer polled, and closed at the restart",
                                    now.name(port.name)));
    }
  }
  return reasons;
}

}  // namespace sluice
