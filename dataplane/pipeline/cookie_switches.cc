#include "dataplane/pipeline/cookie_switches.h"

#include <algorithm>

#include "dataplane/base/assert.h"
#include "dataplane/pipeline/token_bucket.h"

namespace sluice {

CookieSwitches::CookieSwitches() : rows_(static_cast<Row*>(std::calloc(vips_max, sizeof(Row)))) {
  LB_ASSERT(rows_ != nullptr);
}

void CookieSwitches::opened(Counters& counters, std::uint32_t vip_id, std::uint32_t threshold, Instant now,
                            std::uint32_t lcore_count) {
  Row& row = rows_[vip_id];
  if (row.is_on || counters.vips[vip_id].half_open.read() < share_of(threshold, lcore_count)) return;
  row.is_on = true;
  row.quiet_since_ms = now.ms;
  begin_period(counters, vip_id);
  on_.push_back(vip_id);
  counters.cookies[vip_id].is_on.add(1);
  counters.cookies[vip_id].turned_on.add(1);
}

void CookieSwitches::begin_period(const Counters& counters, std::uint32_t vip_id) {
  rows_[vip_id].sent = counters.cookies[vip_id].sent.read();
  rows_[vip_id].accepted = counters.cookies[vip_id].accepted.read();
}

bool CookieSwitches::is_quiet(const Counters& counters, const Snapshot& tables, std::uint32_t vip_id,
                              std::uint32_t lcore_count) {
  const VipRow* vip = tables.vip_by_id(vip_id);
  if (vip == nullptr || vip->syn_cookies != SynCookies::on_threshold) return true;
  const Row& row = rows_[vip_id];
  const std::uint64_t sent = counters.cookies[vip_id].sent.read() - row.sent;
  const std::uint64_t accepted = counters.cookies[vip_id].accepted.read() - row.accepted;
  const std::uint64_t unanswered = sent - std::min(sent, accepted);
  const std::uint64_t would_be_half_open = unanswered * tables.node().tcp_opening_ms / period_ms;
  const std::uint64_t are_half_open = counters.vips[vip_id].half_open.read();
  return 2 * std::max(would_be_half_open, are_half_open) < share_of(tables.limits_of(*vip)->cookie_threshold, lcore_count);
}

void CookieSwitches::review(Counters& counters, const Snapshot& tables, Instant now, std::uint32_t lcore_count) {
  if (on_.empty() || now < reviewed_ + Milliseconds{period_ms}) return;
  reviewed_ = now;
  std::erase_if(on_, [&](std::uint32_t vip_id) {
    Row& row = rows_[vip_id];
    if (!is_quiet(counters, tables, vip_id, lcore_count)) row.quiet_since_ms = now.ms;
    begin_period(counters, vip_id);
    if (now.ms - row.quiet_since_ms < quiet_ms_min) return false;
    row.is_on = false;
    row.valid_until_ms = now.ms + cookie_lifetime_ms;
    counters.cookies[vip_id].is_on.subtract(1);
    return true;
  });
}

}  // namespace sluice
