// CookieSwitches: VIPs that answer SYNs with cookies while too many handshakes stay unfinished (SynCookies::on_threshold).
//
// What counts is not how fast SYNs come but how many do not complete: a rush of honest clients is through within a round
// trip, a flood from made-up addresses never is. So it is with the backlog of a listening socket (tcp_max_syn_backlog).
//
// On   as soon as the half-open connections of the VIP, on the whole box, reach its threshold: with the very next burst. An
//      lcore that is not alone sums up what all have after every few that it opens, so that together they are at most a
//      sixteenth of the threshold late.
// Off  when for `quiet_ms_min` so few cookies of the box went unanswered that, had each opened a flow, less than half of the
//      threshold would be half-open: what is let in again then does not switch it on again.
// Connections that began the other way go on: a flow that is half-open is found by its five-tuple, and a cookie that was
// given out is accepted as long as it is valid.
// Threads: one lcore, which has its own switch and reads what the others count.
// Memory:  zeroed, and given page by page: most VIPs have no threshold.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/base/zeroed_rows.h"
#include "dataplane/net/syn_cookie.h"
#include "dataplane/pipeline/counters.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

class CookieSwitches {
 public:
  static constexpr std::uint64_t period_ms = 1'000;
  static constexpr std::uint64_t quiet_ms_min = 10'000;

  // What an lcore counts, and what all do, its own among it.
  struct Seen {
    Counters& own;
    std::span<const Counters* const> all;
  };

  CookieSwitches() : rows_(vips_max) {}

  bool is_on(std::uint32_t vip_id) const { return rows_[vip_id].is_on; }
  // Whether a cookie may still come back.
  bool may_return(std::uint32_t vip_id, Instant now) const {
    const Row& row = rows_[vip_id];
    return row.is_on || now.ms < row.valid_until_ms;
  }
  // A flow was opened for a SYN.
  void opened(const Seen& seen, std::uint32_t vip_id, std::uint32_t threshold, Instant now);
  // Once a period: switches off what may be.
  void review(const Seen& seen, const Snapshot& tables, Instant now);

 private:
  struct Row {
    bool is_on;
    std::uint64_t valid_until_ms;  // of the last cookie that was given out, once it is off
    std::uint64_t quiet_since_ms;
    std::uint64_t sent, accepted;  // on the box, at the beginning of the period
    std::uint64_t summed_at;       // while off: how many half-open ones were our own when those of all were last summed up
  };
  bool is_quiet(const Seen& seen, const Snapshot& tables, std::uint32_t vip_id);
  void begin_period(const Seen& seen, std::uint32_t vip_id);

  ZeroedRows<Row> rows_;           // by VIP id
  std::vector<std::uint32_t> on_;  // ids
  Instant reviewed_;
};

}  // namespace sluice
