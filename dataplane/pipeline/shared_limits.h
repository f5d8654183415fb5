// SharedLimits: what the lcores of a process tell each other, so that a limit speaks of the box and not of one of them.
//
// Flows    One count for each VIP and each endpoint that limits its flows. A place is taken with a compare-and-swap before the
//          flow is there, and given back when it ends or does not come about: so there are never more than the limit, and none
//          is refused while there is room. That is one contended line at the opening and at the end of a flow, and only where
//          there is a limit. Reading instead what each lcore counts for itself would need no shared count, but as many lines
//          as there are lcores for each candidate, and two lcores that ask for the last place at once would refuse both.
//          Which flows are in the count, and what becomes of it when a limit comes or goes: flow_limits.h.
// Rates    Moments (rate_limits.h), from which an lcore takes time in portions: the line of a moment is written about a
//          thousand times a second by each lcore at most where the rate is higher than that, and by each packet that passes
//          where it is lower. Packets that are too many read it.
// Sources  A table of moments, four ways a cache line; see rate_limits.h for what happens when a set is full.
// Counters What each lcore counts, for those who want a sum: SYN cookies by threshold (cookie_switches.h).
//
// Threads: all lcores at once. All is relaxed: a count or a moment says nothing of other memory.
// Memory:  3 MB of address space for a process, given page by page when it is first used: most boxes have no limits. A process
//          begins with nothing; flows that it takes over are counted before its lcores run (take_over.h).
// Errors:  none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "dataplane/base/hash.h"
#include "dataplane/base/zeroed_rows.h"
#include "dataplane/pipeline/counters.h"

namespace sluice {

// How many there are of what has a limit.
class SharedCount {
 public:
  // One more, unless there are `max` already.
  bool take(std::uint32_t max) {
    std::uint32_t count = count_.load(std::memory_order_relaxed);
    while (count < max) {
      if (count_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void add(std::uint32_t n) { count_.fetch_add(n, std::memory_order_relaxed); }
  void subtract(std::uint32_t n) { count_.fetch_sub(n, std::memory_order_relaxed); }
  std::uint32_t read() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> count_{0};
};

using SharedMoment = std::atomic<std::uint64_t>;  // ns of the lcores' clock

struct SharedLimits {
  static constexpr std::size_t source_count_max = 65'536;
  static constexpr std::size_t source_ways = 4;

  struct alignas(64) Vip {
    SharedCount flows;
    SharedMoment new_flows, packets;
  };
  struct Source {
    std::atomic<std::uint64_t> tag;  // of VIP, kind of rate and source; 0: unused
    SharedMoment moment;
  };
  struct alignas(64) SourceSet {
    std::array<Source, source_ways> ways;
  };
  struct alignas(64) IcmpMoment {
    SharedMoment moment{0};
  };

  // `source_secret`: so that nobody outside knows which sources share a set.
  explicit SharedLimits(HashSecret source_secret) : secret(source_secret) {}
  SharedLimits(const SharedLimits&) = delete;
  SharedLimits& operator=(const SharedLimits&) = delete;

  ZeroedRows<Vip> vips{vips_max};                    // by VipRow::id
  ZeroedRows<SharedCount> endpoints{endpoints_max};  // by EndpointRow::id
  ZeroedRows<SourceSet> sources{source_count_max / source_ways};
  IcmpMoment icmp_errors, icmp_echoes;
  HashSecret secret;
  std::vector<const Counters*> counters;             // of all lcores: each World adds its own, before the lcores run
};

}  // namespace sluice
