#include "dataplane/flow/conntrack.h"

#include <cstring>

#include "dataplane/base/assert.h"

namespace sluice {

Conntrack::Conntrack(std::span<FlowRecord> records, HashSecret secret)
    : usual_vips_(vips_max), records_(records), secret_(secret), index_(std::make_unique<FlowIndex>(records.size() * 2)) {
  LB_ASSERT(!records.empty() && records.size() < 1ull << 31);
  free_.reserve(records.size());
  rebuild_free_list();
}

Conntrack::Conntrack(Conntrack&&) noexcept = default;
Conntrack& Conntrack::operator=(Conntrack&&) noexcept = default;
Conntrack::~Conntrack() = default;

void Conntrack::rebuild_free_list() {
  free_.clear();
  for (std::size_t i = records_.size(); i-- > 0;) {
    if (records_[i].state == FlowState::unused) free_.push_back(static_cast<std::uint32_t>(i));
  }
}

FlowRecord* Conntrack::open(const FlowOpening& opening, FlowHash client_hash, FlowHash endpoint_hash, Instant now) {
  if (free_.empty()) return nullptr;
  const std::uint32_t index = free_.back();
  if (!index_->insert(client_hash, reference_to(index, Direction::to_endpoint))) return nullptr;
  const bool has_replies = opening.dsr == Dsr::none;
  if (has_replies && !index_->insert(endpoint_hash, reference_to(index, Direction::to_client))) {
    index_->erase(client_hash, reference_to(index, Direction::to_endpoint));
    return nullptr;
  }
  free_.pop_back();
  ++count_;
  write_record(records_[index], opening, now.stamp());
  if (is_wide(records_[index])) write_copies(records_[index]);
  return &records_[index];
}

void Conntrack::write_copies(FlowRecord& record) {
  LB_ASSERT(record.vip_id < usual_vips_.size());
  SharedNumbers numbers{SharedNumbers::unknown, 0};
  const bool is_client_v6 = (record.flags & flow_flag::client_is_v6) != 0;
  if (is_client_v6) {
    record.client_v6 = record.wide_remote[0];
  } else {
    record.v4[0] = {record.wide_remote[0].as_v4(), record.wide_local[0].as_v4()};
  }
  UsualVip& vip = usual_vips_[record.vip_id];
  if (vip.uses == 0) vip.address = record.wide_local[0];
  const bool has_room = !is_client_v6 || (vip.address == record.wide_local[0] && record.dsr != Dsr::gue);
  if (has_room) numbers.endpoint = addresses_.take(record.wide_remote[1]);
  if (numbers.endpoint != SharedNumbers::unknown) {
    const bool is_clients = is_client_v6 && record.wide_local[1] == record.wide_remote[0];
    numbers.local = is_clients ? SharedNumbers::clients : addresses_.take(record.wide_local[1]);
    if (numbers.local == 0) {
      addresses_.release(numbers.endpoint);
      numbers.endpoint = SharedNumbers::unknown;
    } else {
      ++vip.uses;
    }
  }
  set_shared_numbers(record, numbers);
}

void Conntrack::forget_copies(const FlowRecord& record) {
  const SharedNumbers numbers = shared_numbers(record);
  if (numbers.endpoint == SharedNumbers::unknown) return;
  addresses_.release(numbers.endpoint);
  if (numbers.local != SharedNumbers::clients) addresses_.release(numbers.local);
  --usual_vips_[record.vip_id].uses;
}

void Conntrack::close(FlowRecord& record) {
  LB_ASSERT(record.state != FlowState::unused);
  const auto index = static_cast<std::size_t>(&record - records_.data());
  for (const Direction direction : {Direction::to_endpoint, Direction::to_client}) {
    if (direction == Direction::to_client && is_one_sided(record)) continue;
    index_->erase(hash(arriving_key(record, direction)), reference_to(index, direction));
  }
  if (is_wide(record)) forget_copies(record);
  clear_record(record);
  free_.push_back(static_cast<std::uint32_t>(index));
  --count_;
}

bool Conntrack::adopt(FlowRecord& record) {
  const FlowKey keys[] = {arriving_key(record, Direction::to_endpoint), arriving_key(record, Direction::to_client)};
  // Two records with one tuple can only come from damage: the first one stays.
  const bool has_replies = !is_one_sided(record);
  if (contains(keys[0]) || (has_replies && contains(keys[1]))) return false;
  const auto index = static_cast<std::size_t>(&record - records_.data());
  if (!index_->insert(hash(keys[0]), reference_to(index, Direction::to_endpoint))) return false;
  if (has_replies && !index_->insert(hash(keys[1]), reference_to(index, Direction::to_client))) {
    index_->erase(hash(keys[0]), reference_to(index, Direction::to_endpoint));
    return false;
  }
  if (is_wide(record)) write_copies(record);
  record.neighbor_epoch = 0;  // the old process's neighbours are gone
  ++count_;
  return true;
}

FlowRecord* Conntrack::import(const FlowRecord& record) {
  if (free_.empty()) return nullptr;
  FlowRecord& place = records_[free_.back()];
  place = record;
  if (!adopt(place)) {
    clear_record(place);
    return nullptr;
  }
  free_.pop_back();
  return &place;
}

std::optional<FlowRecord> copy_of(const FlowRecord& record) {
  // The owner may be writing. Words are read atomically so that none is torn; a record that was reused
  // meanwhile does not pass its own seal.
  using Word [[gnu::may_alias]] = std::uint64_t;
  FlowRecord copy{};
  auto* to = reinterpret_cast<Word*>(&copy);
  const auto* from = reinterpret_cast<const Word*>(&record);
  for (std::size_t i = 0; i < sizeof(FlowRecord) / sizeof(Word); ++i) {
    to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
  }
  if (copy.state == FlowState::unused || !is_sealed(copy)) return std::nullopt;
  return copy;
}

}  // namespace sluice
