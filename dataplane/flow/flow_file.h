// FlowFile: the mapped file in which the flow records lie, so that they outlive the process.
//
//   header (one page) | flow records of lcore 0 | of lcore 1 | ... | splice records of lcore 0 | of lcore 1 | ...
//                     | named clients of lcore 0 | of lcore 1 | ...
//
// All spans of a kind have one size; there are as many named clients as splice records. The file is lengthened by those when
// somebody wants them: hold_named_clients().
//
// On hugetlbfs (or tmpfs) the file is memory with a name: a killed process leaves its records as they were
// at that instruction. Each record carries a check of its own (flow_record.h), so a torn one is told apart.
// Ownership: the mapping lives as long as the object; records are handed out as spans into it.
// Threads:   open() and take_leftovers() on the control thread; each span then belongs to one lcore.
// Errors:    what keeps us from having a file at all (no mount, no pages, held by another process). A file
//            that does not fit is no error: it is begun anew and `fresh_reason()` says why.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/named_client.h"
#include "dataplane/flow/splice_record.h"

namespace sluice {

struct FlowFileShape {
  std::uint64_t capacity = 0;     // records of all lcores together; rounded up to a multiple of lcore_count
  std::uint32_t lcore_count = 1;
  std::uint64_t splice_capacity = 0;  // SpliceRecords, likewise
  friend bool operator==(const FlowFileShape&, const FlowFileShape&) = default;
};

struct LeftoverFlow {
  FlowRecord flow;
  SpliceRecord splice;  // of a spliced flow
  std::optional<NamedClient> client;  // likewise, if it has one
};

class FlowFile {
 public:
  // Opens the file at `path`, or makes it.
  static Result<FlowFile> open(const std::string& path, FlowFileShape shape);
  FlowFile(FlowFile&& other) noexcept;
  FlowFile& operator=(FlowFile&&) = delete;
  ~FlowFile();

  std::span<FlowRecord> records_of(std::uint32_t lcore) const;
  std::span<SpliceRecord> splices_of(std::uint32_t lcore) const;
  // Empty: there is no room for them yet.
  std::span<NamedClient> named_clients_of(std::uint32_t lcore) const;
  // Makes room for them, for good; what an earlier process left is kept. Control thread. An error says what the file lacks, and
  // all is as before.
  Result<void> hold_named_clients();
  std::uint64_t records_per_lcore() const { return records_per_lcore_; }

  // The spans hold what an earlier process with the same shape left: Conntrack::adopt_all() each.
  bool is_adoptable() const { return is_adoptable_; }
  // Sound records of a file that had another shape: Conntrack::import() each into the lcore that owns it.
  std::vector<LeftoverFlow> take_leftovers() { return std::move(leftovers_); }
  // Why an existing file was not used; empty when there was none or it was used.
  const std::string& fresh_reason() const { return fresh_reason_; }

 private:
  FlowFile() = default;
  Result<void> map(std::uint64_t bytes, const std::string& path);
  void unmap();
  bool map_part(std::uint64_t begin, std::uint64_t end);
  std::uint64_t named_clients_at() const;   // where they begin
  std::uint64_t named_clients_end() const;

  Fd fd_;  // holds the lock
  std::uint64_t block_bytes_ = 0;     // in which the file grows: a huge page on hugetlbfs
  void* reserved_ = nullptr;          // addresses for the file and for what it may become: lengthening it moves nothing
  std::uint64_t reserved_bytes_ = 0;
  std::byte* base_ = nullptr;         // within
  std::uint64_t mapped_bytes_ = 0;
  std::uint32_t lcore_count_ = 1;
  std::uint64_t records_per_lcore_ = 0;
  std::uint64_t splices_per_lcore_ = 0;
  bool is_adoptable_ = false;
  std::vector<LeftoverFlow> leftovers_;
  std::string fresh_reason_;
};

}  // namespace sluice
