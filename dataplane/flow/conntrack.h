// Conntrack: the flows of one lcore. Records (which outlive the process) and an index over them.
//
// Terms    A *record* holds a flow; the *index* maps a five-tuple of either direction to its record. Both
//          directions of a flow are in the index of the same lcore: its owner. A one-sided flow has one.
// Index    Buckets of one cache line: eight 16-bit tags, compared at once with SIMD, and eight references.
//          A key lives in one of two buckets; the second is the first XOR a hash of the tag (partial-key
//          cuckoo hashing: Fan et al., MemC3, NSDI'13), so an entry can move without reading its record.
//          The key itself is compared in the record, which the packet needs anyway: a hit costs two
//          lines, bucket and record, and keys are stored once.
// Threads  Owned by one lcore. Others may read records through copy_of(), which tells torn ones apart.
// Wide     What a packet of a flow with an IPv6 side asks of it is answered from the record's first line and from addresses
//          that many flows share, which are in the cache: the usual one of its VIP, and those in the AddressBook. Flows for
//          which there is none (the VIP is a network, the book is full) have a second line that is read instead.
// Memory   Records lie in the span given at construction, the index is allocated there and then; neither
//          grows. 128 bytes a record plus 20 to 40 for the index.
// Errors   open() says which limit was hit; established flows are never evicted to make room.
// Cost     find() touches cached lines only if prefetch_bucket() and guess() ran before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/flow/address_book.h"
#include "dataplane/flow/flow_index.h"
#include "dataplane/flow/flow_record.h"

namespace sluice {

struct FlowMatch {
  FlowRecord* record = nullptr;
  Direction direction = Direction::to_endpoint;
};

// What the index refers to: a record and the direction whose five-tuple led to it.
inline FlowIndex::Reference reference_to(std::size_t record_index, Direction direction) {
  return static_cast<FlowIndex::Reference>(record_index << 1 | static_cast<unsigned>(direction));
}
inline std::size_t record_of(FlowIndex::Reference reference) { return reference >> 1; }
inline Direction direction_of(FlowIndex::Reference reference) { return static_cast<Direction>(reference & 1); }

// The addresses of one side, as it sees them.
struct SideView {
  const IpAddress* remote;
  const IpAddress* local;
};

class Conntrack {
 public:
  // `records` are zeroed, or were left by an earlier process: then call adopt_all() before anything else.
  Conntrack(std::span<FlowRecord> records, HashSecret secret);
  Conntrack(Conntrack&&) noexcept;
  Conntrack& operator=(Conntrack&&) noexcept;
  ~Conntrack();

  FlowHash hash(const FlowKey& key) const { return hash_of(key, secret_); }
  void prefetch_bucket(FlowHash hash) const { index_->prefetch(hash); }
  // The first entry whose tag fits, its record on the way; none fits: nullptr. False: there is no such flow, and
  // confirm() need not be asked. The bucket should be near.
  bool guess(FlowHash hash, FlowMatch& match) const;
  // find() that looks at the guess first: right for all but a few in a thousand.
  FlowMatch confirm(FlowMatch guess, const FlowKey& key, FlowHash hash) const;
  FlowMatch find(const FlowKey& key, FlowHash hash) const;
  bool contains(const FlowKey& key, FlowHash hash) const { return find(key, hash).record != nullptr; }
  bool contains(const FlowKey& key) const { return contains(key, hash(key)); }
  // Whether packets with this five-tuple belong to the record, in this direction.
  bool arrives_as(const FlowRecord& record, Direction direction, const FlowKey& key) const;

  // Of a wide flow, but for the client's side of an IPv4 client, which has FlowRecord::v4[0].
  SideView wide_side(const FlowRecord& record, std::size_t side) const;
  // Whether they come out of the record's second line, which is then worth prefetching.
  static bool needs_second_line(const FlowRecord& record) {
    return is_wide(record) && shared_numbers(record).endpoint == SharedNumbers::unknown;
  }

  // A new flow in the index: both directions, or the client's alone if it is one-sided. Their keys must be absent. nullptr: full. The hashes are those of the
  // client's packets and of the endpoint's.
  FlowRecord* open(const FlowOpening& opening, FlowHash client_hash, FlowHash endpoint_hash, Instant now);
  FlowRecord* open(const FlowOpening& opening, Instant now) {
    return open(opening, hash(opening.from_client), hash(opening.to_endpoint.reversed()), now);
  }
  // Brings near the record that the flow after `ahead` more will be given.
  void prefetch_unused(std::size_t ahead) const {
    if (ahead >= free_.size()) return;
    const FlowRecord& record = records_[free_[free_.size() - 1 - ahead]];
    __builtin_prefetch(&record, 1);
    __builtin_prefetch(reinterpret_cast<const std::byte*>(&record) + 64, 1);
  }
  void close(FlowRecord& record);

  // Looks at `count` records further on; those for which `is_over` says so go to `close`, which must close() them:
  // the sweep that expires flows. Every record is seen once per round.
  template <class IsOver, class Close>
  void sweep(std::uint32_t count, IsOver is_over, Close close) {
    // Closed in groups, so that the buckets of a group are fetched together.
    constexpr std::size_t group_max = 16;
    constexpr std::size_t records_ahead = 16;  // an unused record takes few cycles, memory some hundreds
    FlowRecord* group[group_max];
    std::size_t group_count = 0;
    for (; count > 0; --count) {
      if (sweep_position_ + records_ahead < records_.size()) __builtin_prefetch(&records_[sweep_position_ + records_ahead]);
      FlowRecord& record = records_[sweep_position_];
      if (++sweep_position_ == records_.size()) sweep_position_ = 0;
      if (record.state != FlowState::unused && is_over(record)) {
        prefetch_close(record);
        group[group_count++] = &record;
      }
      if (group_count < group_max && count > 1) continue;
      for (std::size_t i = 0; i < group_count; ++i) close(*group[i]);
      group_count = 0;
    }
  }

  // Takes over what lies in the records: keeps those for which `is_ours` says so and whose check holds, clears the
  // others. How many it kept.
  template <class IsOurs>
  std::size_t adopt_all(IsOurs is_ours) {
    std::size_t kept = 0;
    for (FlowRecord& record : records_) {
      if (record.state != FlowState::unused && is_sealed(record) && is_ours(record) && adopt(record)) {
        ++kept;
      } else {
        clear_record(record);
      }
    }
    rebuild_free_list();
    return kept;
  }
  // Takes in a record that lay elsewhere (another lcore's span); nullptr when full or already known.
  FlowRecord* import(const FlowRecord& record);

  std::size_t count() const { return count_; }
  bool is_full() const { return free_.empty(); }
  std::size_t capacity() const { return records_.size(); }
  std::span<const FlowRecord> records() const { return records_; }
  FlowRecord& at(std::uint32_t index) { return records_[index]; }
  const FlowRecord& at(std::uint32_t index) const { return records_[index]; }
  std::uint32_t index_of(const FlowRecord& record) const { return static_cast<std::uint32_t>(&record - records_.data()); }

 private:
  void prefetch_close(const FlowRecord& record) const {
    for (const Direction direction : {Direction::to_endpoint, Direction::to_client}) {
      prefetch_bucket(hash(arriving_key(record, direction)));
    }
  }
  // How many wide flows have this as the address of the VIP that they came by.
  struct UsualVip {
    IpAddress address;
    std::uint32_t uses = 0;
  };

  bool adopt(FlowRecord& record);
  void rebuild_free_list();
  void write_copies(FlowRecord& record);   // of a wide flow, in its first line
  void forget_copies(const FlowRecord& record);
  AddressBook addresses_;
  std::vector<UsualVip> usual_vips_;       // by id
  std::span<FlowRecord> records_;
  HashSecret secret_;
  std::unique_ptr<FlowIndex> index_;
  std::vector<std::uint32_t> free_;  // stack of unused records
  std::size_t count_ = 0;
  std::size_t sweep_position_ = 0;
};

// A copy for readers on other threads; nothing when the record is unused or was changing under our eyes.
std::optional<FlowRecord> copy_of(const FlowRecord& record);

// The lookup is inlined into the stages that call it for every packet.

inline SideView Conntrack::wide_side(const FlowRecord& record, std::size_t side) const {
  const SharedNumbers numbers = shared_numbers(record);
  if (numbers.endpoint == SharedNumbers::unknown) [[unlikely]] return {&record.wide_remote[side], &record.wide_local[side]};
  if (side == 0) return {&record.client_v6, &usual_vips_[record.vip_id].address};
  return {&addresses_[numbers.endpoint], numbers.local == SharedNumbers::clients ? &record.client_v6 : &addresses_[numbers.local]};
}

inline bool Conntrack::arrives_as(const FlowRecord& record, Direction direction, const FlowKey& key) const {
  // One branch for all that must agree: it is nearly always taken, and five would be five to predict.
  const auto of_side = static_cast<unsigned>(direction);
  const SidePorts& ports = record.ports[of_side];
  std::uint64_t difference = static_cast<std::uint64_t>(ports.remote.raw ^ key.source_port.raw) |
                             static_cast<std::uint64_t>(ports.local.raw ^ key.destination_port.raw) |
                             static_cast<std::uint64_t>(record.protocol ^ key.protocol);
  // The client's side is in v4[0] when the client is IPv4, the endpoint's in v4[1] when both are.
  static_assert(flow_flag::client_is_v6 == 1 && flow_flag::endpoint_is_v6 == 2);
  if ((record.flags & (flow_flag::client_is_v6 | of_side << 1)) == 0) [[likely]] {
    const SideAddresses& side = record.v4[of_side];
    difference |= key.source.high | (key.source.low ^ IpAddress::v4(side.remote).low) |
                  (key.destination.as_v4().raw ^ side.local.raw);
  } else {
    const SideView side = wide_side(record, of_side);
    difference |= (side.remote->high ^ key.source.high) | (side.remote->low ^ key.source.low) |
                  (side.local->high ^ key.destination.high) | (side.local->low ^ key.destination.low);
  }
  return difference == 0;
}

inline bool Conntrack::guess(FlowHash hash, FlowMatch& match) const {
  FlowIndex::Reference reference;
  match.record = nullptr;
  const FlowIndex::Guess guess = index_->guess(hash, reference);
  if (guess == FlowIndex::Guess::likely) [[likely]] {
    match = {&records_[record_of(reference)], direction_of(reference)};
    __builtin_prefetch(match.record, 1);
  }
  return guess != FlowIndex::Guess::absent;
}

inline FlowMatch Conntrack::confirm(FlowMatch guess, const FlowKey& key, FlowHash hash) const {
  if (guess.record != nullptr && arrives_as(*guess.record, guess.direction, key)) [[likely]] return guess;
  return find(key, hash);
}

inline FlowMatch Conntrack::find(const FlowKey& key, FlowHash hash) const {
  FlowMatch match;
  index_->find(hash, [&](FlowIndex::Reference reference) {
    FlowRecord& record = records_[record_of(reference)];
    if (!arrives_as(record, direction_of(reference), key)) return false;
    match = {&record, direction_of(reference)};
    return true;
  });
  return match;
}

}  // namespace sluice
