#include "dataplane/flow/splices.h"

#include "dataplane/base/assert.h"

namespace sluice {

Splices::Splices(std::span<SpliceRecord> records, std::span<NamedClient> clients) : records_(records), clients_(clients) {
  free_.reserve(records.size());
  for (std::size_t i = records.size(); i-- > 0;) {
    if (records[i].is_used == 0) free_.push_back(static_cast<std::uint32_t>(i));
  }
}

std::uint32_t Splices::open() {
  if (free_.empty()) return no_splice;
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  records_[slot] = SpliceRecord{};
  records_[slot].is_used = 1;
  return slot;
}

void Splices::close(std::uint32_t slot) {
  LB_ASSERT(slot < records_.size() && records_[slot].is_used != 0);
  records_[slot] = SpliceRecord{};
  free_.push_back(slot);
}

void Splices::name_client(const FlowRecord& flow, IpAddress address, Be16 port) {
  if (flow.splice_slot < clients_.size()) sluice::name_client(clients_[flow.splice_slot], flow, records_[flow.splice_slot], address, port);
}

bool Splices::is_adoptable(const FlowRecord& flow) const {
  if ((flow.flags & flow_flag::is_spliced) == 0) return true;
  if (flow.splice_slot >= records_.size()) return false;
  const SpliceRecord& record = records_[flow.splice_slot];
  return record.is_used != 0 && is_sealed(record, flow.check);
}

void Splices::adopt(std::span<const FlowRecord> flows) {
  for (SpliceRecord& record : records_) record.is_used = 0;
  for (const FlowRecord& flow : flows) {
    if (flow.state == FlowState::unused || (flow.flags & flow_flag::is_spliced) == 0) continue;
    records_[flow.splice_slot].is_used = 1;
    records_[flow.splice_slot].pending = 0;
  }
  *this = Splices(records_, clients_);
}

SpliceRecord Splices::copy_for(const FlowRecord& flow) const {
  return (flow.flags & flow_flag::is_spliced) != 0 ? records_[flow.splice_slot] : SpliceRecord{};
}

std::uint32_t Splices::import(const SpliceRecord& record, const std::optional<NamedClient>& client) {
  const std::uint32_t slot = open();
  if (slot == no_splice) return no_splice;
  records_[slot] = record;
  records_[slot].is_used = 1;
  records_[slot].pending = 0;
  if (client && slot < clients_.size()) clients_[slot] = *client;
  return slot;
}

}  // namespace sluice
