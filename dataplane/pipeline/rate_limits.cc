#include "dataplane/pipeline/rate_limits.h"

#include <algorithm>

namespace sluice {
namespace {

// Time is read in milliseconds: what comes within one came at once.
constexpr std::uint64_t clock_step_ns = 1'000'000;
constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t set_count = SharedLimits::source_count_max / SharedLimits::source_ways;
constexpr unsigned tries_max = 8;  // to find a way that no other lcore is giving to somebody else

std::size_t set_of(std::uint64_t tag) { return (tag >> 20) % set_count; }

// Up to where the rate lets a moment be pushed on.
std::uint64_t end_of(const RateLimitRow& rate, std::uint64_t now_ns) {
  return now_ns + std::max(rate.burst_ns, rate.interval_ns) + clock_step_ns;
}

// So many of `portion` conform, while other lcores push the same moment.
std::uint32_t push_on_together(SharedMoment& moment, const RateLimitRow& rate, std::uint64_t now_ns, std::uint32_t portion) {
  const std::uint64_t end_ns = end_of(rate, now_ns);
  std::uint64_t before_ns = moment.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint64_t first_ns = std::max(before_ns, now_ns);
    if (first_ns + rate.interval_ns > end_ns) return 0;
    std::uint64_t count = 1;
    if (portion > 1) count = std::min<std::uint64_t>(portion, (end_ns - first_ns) / rate.interval_ns);
    const std::uint64_t after_ns = first_ns + count * rate.interval_ns;
    if (moment.compare_exchange_weak(before_ns, after_ns, std::memory_order_relaxed)) return static_cast<std::uint32_t>(count);
  }
}

}  // namespace

RateLimits::RateLimits(SharedLimits& shared, std::uint32_t lcore_count)
    : shared_(shared),
      portion_ns_(lcore_count == 1 ? 0 : clock_step_ns / lcore_count),
      ahead_(vips_max),
      sources_ahead_(set_count) {}

// So many of `portion` conform: of one, when this lcore is alone.
inline std::uint32_t RateLimits::push_on(SharedMoment& moment, const RateLimitRow& rate, Instant now, std::uint32_t portion) {
  const std::uint64_t now_ns = now.ms * clock_step_ns;
  if (portion_ns_ != 0) return push_on_together(moment, rate, now_ns, portion);
  const std::uint64_t after_ns = std::max(moment.load(std::memory_order_relaxed), now_ns) + rate.interval_ns;
  if (after_ns > end_of(rate, now_ns)) return 0;
  moment.store(after_ns, std::memory_order_relaxed);
  return 1;
}

inline std::uint32_t RateLimits::push_on_source(std::uint64_t tag, const RateLimitRow& rate, Instant now, std::uint32_t portion) {
  SharedLimits::SourceSet& set = shared_.sources[set_of(tag)];
  for (SharedLimits::Source& way : set.ways) {
    if (way.tag.load(std::memory_order_relaxed) == tag) return push_on(way.moment, rate, now, portion);
  }
  SharedMoment* moment = moment_of_new(set, tag, now);
  return moment != nullptr ? push_on(*moment, rate, now, portion) : 1;
}

// Where another lcore may be doing the same. nullptr: too many others for this one to stay at all.
[[gnu::noinline]] SharedMoment* RateLimits::moment_of_new(SharedLimits::SourceSet& set, std::uint64_t tag, Instant now) {
  const std::uint64_t now_ns = now.ms * clock_step_ns;
  for (unsigned tries = 0; tries < tries_max; ++tries) {
    SharedLimits::Source* oldest = nullptr;
    std::uint64_t oldest_tag = 0, oldest_ns = UINT64_MAX;
    for (SharedLimits::Source& way : set.ways) {
      const std::uint64_t way_tag = way.tag.load(std::memory_order_relaxed);
      if (way_tag == tag) return &way.moment;
      const std::uint64_t way_ns = way.moment.load(std::memory_order_relaxed);
      if (way_ns >= oldest_ns) continue;
      oldest = &way;
      oldest_tag = way_tag;
      oldest_ns = way_ns;
    }
    // What the one before has taken is not ours to wait for. Before the tag: nobody may find that under ours.
    if (oldest_ns > now_ns) oldest->moment.compare_exchange_strong(oldest_ns, now_ns, std::memory_order_relaxed);
    if (oldest->tag.compare_exchange_strong(oldest_tag, tag, std::memory_order_release)) return &oldest->moment;
  }
  return nullptr;
}

template <class More>
bool RateLimits::take_ahead(std::uint32_t& ahead, const RateLimitRow& rate, More more) {
  if (ahead == 0) ahead = more(static_cast<std::uint32_t>(portion_ns_ / rate.interval_ns));
  if (ahead == 0) return false;
  --ahead;
  return true;
}

bool RateLimits::take(std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now) {
  SharedLimits::Vip& vip = shared_.vips[vip_id];
  SharedMoment& moment = what == Of::new_flows ? vip.new_flows : vip.packets;
  if (is_taken_one_by_one(rate)) return push_on(moment, rate, now, 1) != 0;
  std::uint32_t& ahead = what == Of::new_flows ? ahead_[vip_id].new_flows : ahead_[vip_id].packets;
  return take_ahead(ahead, rate, [&](std::uint32_t portion) { return push_on(moment, rate, now, portion); });
}

bool RateLimits::take(IpAddress source, std::uint32_t vip_id, Of what, const RateLimitRow& rate, Instant now) {
  const std::uint64_t low = source.is_v4() ? source.low : 0;
  const std::uint64_t who = std::uint64_t{vip_id} << 1 | static_cast<std::uint64_t>(what);
  const std::uint64_t tag = keyed_hash({shared_.secret.a ^ who, shared_.secret.b}, source.high, low) | 1;
  if (is_taken_one_by_one(rate)) return push_on_source(tag, rate, now, 1) != 0;
  return take_ahead(ahead_of(tag, now).count, rate, [&](std::uint32_t portion) { return push_on_source(tag, rate, now, portion); });
}

bool RateLimits::take(Icmp what, std::uint32_t count_per_second, Instant now) {
  if (count_per_second == 0) return false;
  const RateLimitRow rate{second_ns / count_per_second, second_ns / 10};
  return push_on(what == Icmp::errors ? shared_.icmp_errors.moment : shared_.icmp_echoes.moment, rate, now, 1) != 0;
}

RateLimits::SourceAhead& RateLimits::ahead_of(std::uint64_t tag, Instant now) {
  SourceAheadSet& set = sources_ahead_[set_of(tag)];
  SourceAhead* oldest = nullptr;
  for (SourceAhead& way : set.ways) {
    if (way.tag == tag) {
      way.used_stamp = now.stamp();
      return way;
    }
    if (oldest == nullptr || ms_since(way.used_stamp, now) > ms_since(oldest->used_stamp, now)) oldest = &way;
  }
  *oldest = {tag, 0, now.stamp()};
  return *oldest;
}

}  // namespace sluice
