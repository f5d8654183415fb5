#include "dataplane/flow/flow_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "dataplane/base/crc32c.h"

namespace sluice {
namespace {

constexpr char flow_file_magic[8] = {'S', 'L', 'U', 'F', 'L', 'O', 'W', 'S'};
constexpr std::uint64_t header_area_bytes = 4'096;

struct FlowFileHeader {
  char magic[8];
  std::uint32_t layout;  // flow_layout
  std::uint32_t record_bytes;
  std::uint64_t records_per_lcore;
  std::uint64_t splices_per_lcore;
  std::uint32_t lcore_count;
  std::uint32_t crc;  // CRC-32C of the header, this field taken as zero
};
static_assert(sizeof(FlowFileHeader) == 40);

// What the spans take, without the header.
std::uint64_t bytes_of_records(std::uint64_t records_per_lcore, std::uint64_t splices_per_lcore, std::uint64_t lcore_count) {
  return lcore_count * (records_per_lcore * sizeof(FlowRecord) + splices_per_lcore * sizeof(SpliceRecord));
}

FlowFileHeader header_for(std::uint64_t records_per_lcore, std::uint64_t splices_per_lcore, std::uint32_t lcore_count) {
  FlowFileHeader header{};
  std::copy(std::begin(flow_file_magic), std::end(flow_file_magic), header.magic);
  header.layout = flow_layout;
  header.record_bytes = sizeof(FlowRecord);
  header.records_per_lcore = records_per_lcore;
  header.splices_per_lcore = splices_per_lcore;
  header.lcore_count = lcore_count;
  header.crc = crc32c(std::as_bytes(std::span(&header, 1)));
  return header;
}

// Why the records behind this header cannot be read; empty when they can.
std::string fault_of(const FlowFileHeader& header, std::uint64_t file_bytes) {
  if (!std::equal(std::begin(flow_file_magic), std::end(flow_file_magic), header.magic)) {
    return "it is no file of flow records, or was being made when its process died";
  }
  FlowFileHeader without_crc = header;
  without_crc.crc = 0;
  if (crc32c(std::as_bytes(std::span(&without_crc, 1))) != header.crc) return "its header is damaged";
  if (header.layout != flow_layout || header.record_bytes != sizeof(FlowRecord)) {
    return fmt::format("its records have layout {} with {} bytes, this version has layout {} with {}", header.layout,
                       header.record_bytes, flow_layout, sizeof(FlowRecord));
  }
  // Each number by itself first: no product of them then overflows.
  const std::uint64_t bytes = file_bytes - header_area_bytes;
  if (header.lcore_count == 0 || header.records_per_lcore == 0 || header.lcore_count > bytes ||
      header.records_per_lcore > bytes / sizeof(FlowRecord) / header.lcore_count ||
      header.splices_per_lcore > bytes / sizeof(SpliceRecord) / header.lcore_count ||
      bytes_of_records(header.records_per_lcore, header.splices_per_lcore, header.lcore_count) > bytes) {
    return "it is shorter than its header says";
  }
  return {};
}

std::uint64_t block_bytes_of(int fd) {
  struct statfs info {};
  if (fstatfs(fd, &info) != 0 || info.f_type != HUGETLBFS_MAGIC) return 4'096;
  return static_cast<std::uint64_t>(info.f_bsize);
}

std::uint64_t in_blocks(std::uint64_t bytes, std::uint64_t block_bytes) { return (bytes + block_bytes - 1) / block_bytes * block_bytes; }

}  // namespace

FlowFile::FlowFile(FlowFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      block_bytes_(other.block_bytes_),
      reserved_(std::exchange(other.reserved_, nullptr)),
      reserved_bytes_(other.reserved_bytes_),
      base_(other.base_),
      mapped_bytes_(other.mapped_bytes_),
      lcore_count_(other.lcore_count_),
      records_per_lcore_(other.records_per_lcore_),
      splices_per_lcore_(other.splices_per_lcore_),
      is_adoptable_(other.is_adoptable_),
      leftovers_(std::move(other.leftovers_)),
      fresh_reason_(std::move(other.fresh_reason_)) {}

FlowFile::~FlowFile() { unmap(); }

void FlowFile::unmap() {
  if (reserved_ != nullptr) munmap(std::exchange(reserved_, nullptr), reserved_bytes_);
}

std::uint64_t FlowFile::named_clients_at() const {
  return header_area_bytes + bytes_of_records(records_per_lcore_, splices_per_lcore_, lcore_count_);
}

std::uint64_t FlowFile::named_clients_end() const { return named_clients_at() + splices_per_lcore_ * lcore_count_ * sizeof(NamedClient); }

// errno says what it lacks.
bool FlowFile::map_part(std::uint64_t begin, std::uint64_t end) {
  constexpr int flags = MAP_SHARED | MAP_POPULATE | MAP_FIXED;
  return mmap(base_ + begin, end - begin, PROT_READ | PROT_WRITE, flags, fd_.get(), static_cast<off_t>(begin)) != MAP_FAILED;
}

Result<void> FlowFile::map(std::uint64_t bytes, const std::string& path) {
  unmap();
  reserved_bytes_ = std::max(bytes, in_blocks(named_clients_end(), block_bytes_)) + block_bytes_;
  void* reserved = mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return fail(fmt::format("flow records: {}: no addresses for it: {}", path, strerror(errno)));
  reserved_ = reserved;
  base_ = reinterpret_cast<std::byte*>(in_blocks(reinterpret_cast<std::uintptr_t>(reserved), block_bytes_));
  if (!map_part(0, bytes)) {
    if (errno == ENOMEM) {
      return fail(fmt::format("flow records: {} MiB do not fit in the free hugepages of {}; reserve more in "
                              "/proc/sys/vm/nr_hugepages, lower node.flows.capacity, or name a --flow-file on a tmpfs",
                              bytes >> 20, path));
    }
    return fail(fmt::format("flow records: {}: cannot be mapped: {}", path, strerror(errno)));
  }
  mapped_bytes_ = bytes;
  return {};
}

Result<FlowFile> FlowFile::open(const std::string& path, FlowFileShape shape) {
  FlowFile file;
  file.lcore_count_ = shape.lcore_count;
  file.records_per_lcore_ = (shape.capacity + shape.lcore_count - 1) / shape.lcore_count;
  file.splices_per_lcore_ = (shape.splice_capacity + shape.lcore_count - 1) / shape.lcore_count;
  file.fd_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.fd_) {
    const char* advice = errno == ENOENT ? "; is hugetlbfs mounted? `mount -t hugetlbfs none /dev/hugepages`" : "";
    return fail(fmt::format("flow records: {}: {}{}", path, strerror(errno), advice));
  }
  if (flock(file.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(fmt::format("flow records: {}: another sluice-dataplane holds them; stop that one or give this one its "
                            "own --flow-file",
                            path));
  }

  struct stat info {};
  fstat(file.fd_.get(), &info);
  const auto old_bytes = static_cast<std::uint64_t>(info.st_size);
  file.block_bytes_ = block_bytes_of(file.fd_.get());
  const std::uint64_t bytes = in_blocks(file.named_clients_at(), file.block_bytes_);

  if (old_bytes >= file.block_bytes_) {
    if (auto mapped = file.map(old_bytes, path); !mapped) return tl::unexpected(mapped.error());
    const auto& header = *reinterpret_cast<const FlowFileHeader*>(file.base_);
    file.fresh_reason_ = fault_of(header, old_bytes);
    if (file.fresh_reason_.empty()) {
      if (header.records_per_lcore == file.records_per_lcore_ && header.splices_per_lcore == file.splices_per_lcore_ &&
          header.lcore_count == shape.lcore_count) {
        file.is_adoptable_ = true;
        return file;
      }
      const auto* flows = reinterpret_cast<const FlowRecord*>(file.base_ + header_area_bytes);
      const auto* splices = reinterpret_cast<const SpliceRecord*>(flows + header.records_per_lcore * header.lcore_count);
      const std::uint64_t splice_count = header.splices_per_lcore * header.lcore_count;
      const auto* clients = reinterpret_cast<const NamedClient*>(splices + splice_count);
      const bool has_clients = reinterpret_cast<const std::byte*>(clients + splice_count) <= file.base_ + old_bytes;
      for (std::uint64_t i = 0; i < header.records_per_lcore * header.lcore_count; ++i) {
        if (flows[i].state == FlowState::unused || !is_sealed(flows[i])) continue;
        LeftoverFlow left{flows[i], {}, {}};
        if ((flows[i].flags & flow_flag::is_spliced) != 0) {
          if (flows[i].splice_slot >= header.splices_per_lcore) continue;
          const std::uint64_t first = i / header.records_per_lcore * header.splices_per_lcore;
          left.splice = splices[first + flows[i].splice_slot];
          if (!is_sealed(left.splice, flows[i].check)) continue;  // damaged, or its two sides were not joined yet
          if (has_clients) {
            left.client = find_named_client(flows[i], {splices + first, header.splices_per_lcore}, {clients + first, header.splices_per_lcore});
          }
        }
        file.leftovers_.push_back(left);
      }
    }
    file.unmap();
  } else if (old_bytes > 0) {
    file.fresh_reason_ = "it is shorter than its header";
  }

  // Anew: cut to nothing first, for that is what zeroes; the header comes last, so that a half-made file is
  // recognised.
  if (ftruncate(file.fd_.get(), 0) != 0 || ftruncate(file.fd_.get(), static_cast<off_t>(bytes)) != 0) {
    return fail(fmt::format("flow records: {}: {}", path, strerror(errno)));
  }
  if (auto mapped = file.map(bytes, path); !mapped) return tl::unexpected(mapped.error());
  const FlowFileHeader header = header_for(file.records_per_lcore_, file.splices_per_lcore_, shape.lcore_count);
  std::memcpy(file.base_, &header, sizeof header);
  return file;
}

Result<void> FlowFile::hold_named_clients() {
  const std::uint64_t end = std::max(mapped_bytes_, in_blocks(named_clients_end(), block_bytes_));
  if (end == mapped_bytes_) return {};
  // The pages first: to touch one that cannot be had would be the end of the process.
  const auto bytes = static_cast<off_t>(end - mapped_bytes_);
  if (fallocate(fd_.get(), 0, static_cast<off_t>(mapped_bytes_), bytes) != 0 || !map_part(mapped_bytes_, end)) {
    return fail(fmt::format("{} KiB more in the file of flow records: {}", bytes >> 10, strerror(errno)));
  }
  mapped_bytes_ = end;
  return {};
}

std::span<FlowRecord> FlowFile::records_of(std::uint32_t lcore) const {
  auto* first = reinterpret_cast<FlowRecord*>(base_ + header_area_bytes);
  return {first + lcore * records_per_lcore_, records_per_lcore_};
}

std::span<SpliceRecord> FlowFile::splices_of(std::uint32_t lcore) const {
  auto* first = reinterpret_cast<SpliceRecord*>(base_ + header_area_bytes + records_per_lcore_ * lcore_count_ * sizeof(FlowRecord));
  return {first + lcore * splices_per_lcore_, splices_per_lcore_};
}

std::span<NamedClient> FlowFile::named_clients_of(std::uint32_t lcore) const {
  if (mapped_bytes_ < named_clients_end()) return {};
  auto* first = reinterpret_cast<NamedClient*>(base_ + named_clients_at());
  return {first + lcore * splices_per_lcore_, splices_per_lcore_};
}

}  // namespace sluice
