// Splices: the SpliceRecords of one lcore. A spliced flow holds the number of its own (FlowRecord::splice_slot), under which
// its NamedClient lies too, where there is room for these.
//
// Threads: one lcore. Memory: the records lie in the span given at construction, beside the FlowRecords; a free list.
// Errors:  open() gives no_splice when all are used.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/named_client.h"
#include "dataplane/flow/splice_record.h"

namespace sluice {

inline constexpr std::uint32_t no_splice = 0xffffffff;

class Splices {
 public:
  Splices() = default;
  explicit Splices(std::span<SpliceRecord> records, std::span<NamedClient> clients = {});
  // From now on: as many as there are records, or none.
  void hold_named_clients(std::span<NamedClient> clients) { clients_ = clients; }

  std::uint32_t open();
  void close(std::uint32_t slot);
  SpliceRecord& operator[](std::uint32_t slot) { return records_[slot]; }
  const SpliceRecord& operator[](std::uint32_t slot) const { return records_[slot]; }
  bool is_full() const { return free_.empty(); }
  std::size_t count() const { return records_.size() - free_.size(); }
  std::size_t capacity() const { return records_.size(); }

  // The client that a PROXY header names for this flow. Without room for it none is remembered.
  void name_client(const FlowRecord& flow, IpAddress address, Be16 port);
  std::optional<NamedClient> named_client_of(const FlowRecord& flow) const { return find_named_client(flow, records_, clients_); }

  // Of a flow that an earlier process left: whether its SpliceRecord is here and whole. Flows that were not joined yet
  // have none: what their clients sent was lost with the process.
  bool is_adoptable(const FlowRecord& flow) const;
  // Keeps the records of these flows, which are adoptable, and frees all others.
  void adopt(std::span<const FlowRecord> flows);
  // The SpliceRecord of an adoptable flow; empty when it is not spliced.
  SpliceRecord copy_for(const FlowRecord& flow) const;
  // Takes in the record of a flow that lay elsewhere, and its NamedClient if it has one; no_splice when full.
  std::uint32_t import(const SpliceRecord& record, const std::optional<NamedClient>& client);

 private:
  std::span<SpliceRecord> records_;
  std::span<NamedClient> clients_;
  std::vector<std::uint32_t> free_;  // stack
};

}  // namespace sluice
