// FragmentTable: which datagrams are on their way in fragments, and the fragments that wait for their datagram's first,
// the only one with ports.
//
// Nothing is put together here: fragments are forwarded one by one, as the flow of the first says, and the receiver
// reassembles. The table sees to it that what it reassembles has one meaning: no byte is forwarded twice.
// Order    Datagrams stand in the order in which they were first heard of, which is that in which they time out. When
//          there are too many, or too much waits, the oldest goes: a flood of fragments that never become whole costs
//          honest datagrams only their place in line, which they need for milliseconds.
// Threads  One lcore.
// Memory   Fixed at construction: datagrams_max entries, held_max waiting packets, which belong to their holder's pool;
//          passed_max flows that first fragments have asked for here.
// Cost     A hash, a chain of about one entry, a list of ranges.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/fragment.h"

namespace sluice {

struct FragmentLimits {
  std::uint32_t datagrams_max = 0;
  std::uint32_t held_bytes_max = 0;
  std::uint32_t timeout_ms = 0;
};

struct HeldFragment {
  void* handle = nullptr;
  std::uint16_t bytes = 0;
  std::uint16_t port = 0;
  std::uint8_t hops = 0;
};

struct Datagram {
  static constexpr std::size_t ranges_max = 32;
  static constexpr std::uint16_t none = 0xffff;

  FlowKey name;                   // addresses and protocol, the identification in place of the ports
  FlowKey key;                    // of its flow, once the first fragment has come
  bool has_key = false;
  bool is_refused = false;        // its fragments overlap: none is forwarded any more
  bool lacks_checksum = false;    // UDP whose sender computed none
  bool has_end = false;
  std::uint32_t end_bytes = 0;    // of the payload, once the last fragment has come
  std::uint32_t leaving_id = 0;   // ours: many clients' datagrams leave from one address
  std::uint32_t begun_stamp = 0;
  std::uint16_t held_first = none, held_last = none, held_count = 0;
  std::uint16_t next = none;      // in its chain
  std::uint16_t range_count = 0;
  std::array<std::uint16_t, ranges_max> range_first{}, range_end{};  // of what was forwarded, in units of eight bytes
};

class FragmentTable {
 public:
  static constexpr std::uint32_t datagrams_max = 4'096;
  static constexpr std::uint32_t held_max = 1'024;
  static constexpr std::uint16_t held_per_datagram_max = 64;
  static constexpr std::uint32_t passed_max = 4'096;

  enum class Taken : std::uint8_t { added, duplicate, overlap, scattered };

  FragmentTable();

  // The datagram of that name, made if need be; the oldest makes room. At least one has room whatever
  // `limits` say.
  Datagram& find_or_add(const FlowKey& name, FlowHash hash, Instant now, const FragmentLimits& limits);
  // Notes that the fragment is forwarded. An overlap refuses the datagram as a whole (RFC 5722).
  Taken take(Datagram& datagram, const Fragment& fragment);
  // Keeps a fragment until its first comes; false when too many wait already.
  bool hold(Datagram& datagram, const HeldFragment& fragment, const FragmentLimits& limits);
  // The first has come: those that wait may be taken.
  void make_ready(Datagram& datagram);
  bool take_ready(HeldFragment& fragment);
  // Datagrams that are too old go.
  void expire(Instant now, std::uint32_t timeout_ms);
  // What waited for a datagram that is gone.
  bool take_lost(HeldFragment& fragment) { return take_from(lost_, fragment); }

  // First fragments of flows that are not here and may open elsewhere (pipeline/fragments.cc). Newer ones overwrite older
  // ones, so a flow that did pass may be unknown; one that did not is taken for another once in 2^31.
  void note_passed(FlowHash hash) { passed_[hash % passed_max] = tag_of(hash); }
  bool has_passed(FlowHash hash) const { return passed_[hash % passed_max] == tag_of(hash); }

  std::uint32_t held_count() const { return held_count_; }  // whatever has not been taken out yet
  std::uint32_t waiting_bytes() const { return waiting_bytes_; }
  std::uint32_t datagram_count() const { return count_; }

 private:
  struct Place {
    HeldFragment fragment;
    std::uint16_t next = Datagram::none;
  };
  struct List {
    std::uint16_t first = Datagram::none, last = Datagram::none;
  };
  static constexpr std::uint32_t places_spared = 64;  // the lost leave theirs a little later
  static std::uint32_t tag_of(FlowHash hash) { return static_cast<std::uint32_t>(hash >> 32) | 1; }  // 0: nothing
  std::uint16_t& bucket_of(FlowHash hash) { return buckets_[hash % buckets_.size()]; }
  void drop_oldest();
  void append(List& list, Datagram& datagram);
  bool take_from(List& list, HeldFragment& fragment);

  std::vector<Datagram> datagrams_;     // a ring
  std::vector<FlowHash> hashes_;        // of each
  std::uint32_t oldest_ = 0, count_ = 0;
  std::vector<std::uint16_t> buckets_;
  std::vector<Place> held_;
  std::vector<std::uint16_t> unused_;   // places
  std::uint32_t held_count_ = 0;                           // the lost included
  std::uint32_t waiting_count_ = 0, waiting_bytes_ = 0;    // without them
  List ready_, lost_;
  std::vector<std::uint32_t> passed_;
};

}  // namespace sluice
