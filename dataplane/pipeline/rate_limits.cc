#include "dataplane/pipeline/rate_limits.h"

#include <algorithm>

namespace sluice {
namespace {

// Time is read in milliseconds: what comes within one came at once.
constexpr std::uint64_t clock_step_ns = 1'000'000;

bool conforms(std::uint64_t& moment_ns, const RateLimitRow& rate, Instant now,
              std::uint32_t lcore_count) {
  const std::uint64_t now_ns = now.ms * clock_step_ns;
  const std::uint64_t interval_ns = rate.interval_ns * lcore_count;
  const std::uint64_t ahead_max_ns = std::max(rate.burst_ns, interval_ns) + clock_step_ns;
  const std::uint64_t next_ns = std::max(moment_ns, now_ns) + interval_ns;
  if (next_ns - now_ns > ahead_max_ns) return false;
  moment_ns = next_ns;
  return true;
}

}  // namespace

RateLimits::RateLimits()
    : vips_(static_cast<std::uint64_t*>(std::calloc(vips_max * 2, sizeof(std::uint64_t)))),
      sources_(static_cast<Source*>(std::calloc(source_count_max, sizeof(Source)))) {}

bool RateLimits::take(std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now,
                      std::uint32_t lcore_count) {
  return conforms(vips_[vip_id * 2 + static_cast<std::uint32_t>(what)], rate, now, lcore_count);
}

bool RateLimits::take(IpAddress source, std::uint32_t vip_id, Of what, const RateLimitRow& rate,
                      Instant now, std::uint32_t lcore_count) {
  const std::uint64_t low = source.is_v4() ? source.low : 0;
  const std::uint64_t who = std::uint64_t{vip_id} << 1 | static_cast<std::uint64_t>(what);
  const std::uint64_t tag =
      keyed_hash({0x5bd1e995a3c59ac3ull ^ who, 0x9ddfea08eb382d69ull}, source.high, low) | 1;
  Source* set = &sources_[(tag >> 20) % (source_count_max / source_ways) * source_ways];
  Source* oldest = set;
  for (std::size_t way = 0; way < source_ways; ++way) {
    if (set[way].tag == tag) return conforms(set[way].moment_ns, rate, now, lcore_count);
    if (set[way].moment_ns < oldest->moment_ns) oldest = &set[way];
  }
  *oldest = {tag, 0};
  return conforms(oldest->moment_ns, rate, now, lcore_count);
}

}  // namespace sluice
