// RateLimits: the buckets behind what a virtual host admits a second, of connections and of
// packets.
//
// Memory of one lcore, bounded: a bucket for each VIP, and a table of sources of fixed size. A rate
// of the box is divided among its lcores; so is a number of connections. Rates are kept as a moment
// (GCRA, ITU-T I.371): the next packet conforms if the moment is not further ahead than the burst
// allows, and pushes it on by the interval. A full set of the source table gives up the source that
// was silent the longest: with more sources at a time than places, some begin anew with a full
// burst. Threads: one lcore.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "dataplane/base/units.h"
#include "dataplane/net/address.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

class RateLimits {
 public:
  static constexpr std::size_t source_count_max = 65'536;
  static constexpr std::size_t source_ways = 4;  // one cache line

  RateLimits();

  enum class Of : std::uint8_t { new_flows, packets };
  // Takes one from the VIP's bucket; false when it is empty.
  bool take(std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now,
            std::uint32_t lcore_count);
  // The same for one source: an IPv4 address, or the /64 of an IPv6 one.
  bool take(IpAddress source, std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now,
            std::uint32_t lcore_count);

 private:
  struct Source {
    std::uint64_t tag;
    std::uint64_t moment_ns;
  };
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  template <class Row>
  using Array = std::unique_ptr<Row[], Free>;

  // Zeroed, and given page by page when first used: most boxes have no limits.
  Array<std::uint64_t> vips_;  // by VIP id and kind
  Array<Source> sources_;
};

}  // namespace sluice
