// RateLimits: one lcore's part in what may happen a second on the box: new connections and packets of a VIP, of all its clients
// and of one; ICMP of ours.
//
// A rate is kept as a moment (GCRA, ITU-T I.371): the next packet conforms if the moment is not further ahead than the burst
// allows, and pushes it on by the interval. Moments are shared by the lcores (shared_limits.h). Where a rate is high an lcore
// pushes one on for many packets at a time, for what a millisecond brings of the rate, divided by the number of lcores; these
// are its own until they have passed, however long that takes. Where it is low, each packet is one.
//
// Bound    In any time T, over all lcores: no more than the burst and the rate bring, and what two milliseconds bring: one
//          because time is read in milliseconds, one that lcores may have taken before. A single lcore takes nothing before.
//          Whoever has packets is refused none while no other has taken them: a source whose packets all come to one lcore gets
//          all of its rate. Where several lcores compete, each gets no more at a time than the others.
// Sources  A table of 65,536, shared by all VIPs and both kinds of rate. A full set gives up the source that was silent the
//          longest: with more sources at a time than places, some begin anew with a full burst, and lose what lcores had taken
//          for them. A source that comes to several lcores in the same instant for the first time may begin on each of them
//          with one portion.
// Threads: one lcore. Memory: 1.2 MB of address space, given page by page when it is first used.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/base/zeroed_rows.h"
#include "dataplane/net/address.h"
#include "dataplane/pipeline/shared_limits.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

class RateLimits {
 public:
  RateLimits(SharedLimits& shared, std::uint32_t lcore_count);

  enum class Of : std::uint8_t { new_flows, packets };
  // One more, of all clients of the VIP; false when it is too much.
  bool take(std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now);
  // The same for one source: an IPv4 address, or the /64 of an IPv6 one.
  bool take(IpAddress source, std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now);

  enum class Icmp : std::uint8_t { errors, echoes };
  // Of these a tenth of a second's worth, but one at least, may come at once. 0 a second: none.
  bool take(Icmp what, std::uint32_t count_per_second, Instant now);

 private:
  struct Ahead {  // what was taken and has not passed
    std::uint32_t new_flows, packets;
  };
  struct SourceAhead {
    std::uint64_t tag;
    std::uint32_t count;
    std::uint32_t used_stamp;
  };
  struct alignas(64) SourceAheadSet {
    std::array<SourceAhead, SharedLimits::source_ways> ways;
  };

  bool is_taken_one_by_one(const RateLimitRow& rate) const { return rate.interval_ns * 2 > portion_ns_; }
  std::uint32_t push_on(SharedMoment& moment, const RateLimitRow& rate, Instant now, std::uint32_t portion);
  std::uint32_t push_on_source(std::uint64_t tag, const RateLimitRow& rate, Instant now, std::uint32_t portion);
  SharedMoment* moment_of_new(SharedLimits::SourceSet& set, std::uint64_t tag, Instant now);
  SourceAhead& ahead_of(std::uint64_t tag, Instant now);
  // One out of `ahead`; `more` takes so many from the moment, as long as there are any.
  template <class More>
  bool take_ahead(std::uint32_t& ahead, const RateLimitRow& rate, More more);

  SharedLimits& shared_;
  std::uint64_t portion_ns_;  // 0: this lcore is alone
  ZeroedRows<Ahead> ahead_;   // by VIP id
  ZeroedRows<SourceAheadSet> sources_ahead_;
};

}  // namespace sluice
