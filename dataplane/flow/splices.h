// Splices: the SpliceRecords of one lcore. A spliced flow holds the number of its own (FlowRecord::splice_slot).
//
// Threads: one lcore. Memory: the records lie in the span given at construction, beside the FlowRecords; a free list.
// Errors:  open() gives no_splice when all are used.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/splice_record.h"

namespace sluice {

inline constexpr std::uint32_t no_splice = 0xffffffff;

class Splices {
 public:
  Splices() = default;
  explicit Splices(std::span<SpliceRecord> records);

  std::uint32_t open();
  void close(std::uint32_t slot);
  SpliceRecord& operator[](std::uint32_t slot) { return records_[slot]; }
  const SpliceRecord& operator[](std::uint32_t slot) const { return records_[slot]; }
  bool is_full() const { return free_.empty(); }
  std::size_t count() const { return records_.size() - free_.size(); }
  std::size_t capacity() const { return records_.size(); }

  // Of a flow that an earlier process left: whether its SpliceRecord is here and whole. Flows that were not joined yet
  // have none: what their clients sent was lost with the process.
  bool is_adoptable(const FlowRecord& flow) const;
  // Keeps the records of these flows, which are adoptable, and frees all others.
  void adopt(std::span<const FlowRecord> flows);
  // The SpliceRecord of an adoptable flow; empty when it is not spliced.
  SpliceRecord copy_for(const FlowRecord& flow) const;
  // Takes in the record of a flow that lay elsewhere; no_splice when full.
  std::uint32_t import(const SpliceRecord& record);

 private:
  std::span<SpliceRecord> records_;
  std::vector<std::uint32_t> free_;  // stack
};

}  // namespace sluice
