#include "dataplane/pipeline/cookie_switches.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint64_t late_share_max = 16;  // of the threshold

using Seen = CookieSwitches::Seen;

template <class Read>
std::uint64_t sum(const Seen& seen, Read read) {
  std::uint64_t total = 0;
  for (const Counters* counters : seen.all) total += read(*counters).read();
  return total;
}

std::uint64_t half_open(const Seen& seen, std::uint32_t vip_id) {
  return sum(seen, [&](const Counters& counters) -> const Counter& { return counters.vips[vip_id].half_open; });
}
std::uint64_t cookies_sent(const Seen& seen, std::uint32_t vip_id) {
  return sum(seen, [&](const Counters& counters) -> const Counter& { return counters.cookies[vip_id].sent; });
}
std::uint64_t cookies_accepted(const Seen& seen, std::uint32_t vip_id) {
  return sum(seen, [&](const Counters& counters) -> const Counter& { return counters.cookies[vip_id].accepted; });
}

}  // namespace

void CookieSwitches::opened(const Seen& seen, std::uint32_t vip_id, std::uint32_t threshold, Instant now) {
  Row& row = rows_[vip_id];
  if (row.is_on) return;
  const std::uint64_t own = seen.own.vips[vip_id].half_open.read();
  if (own < threshold) {
    row.summed_at = std::min(row.summed_at, own);
    if (own - row.summed_at < threshold / (late_share_max * seen.all.size())) return;
    row.summed_at = own;
    if (half_open(seen, vip_id) < threshold) return;
  }
  row.is_on = true;
  row.quiet_since_ms = now.ms;
  begin_period(seen, vip_id);
  on_.push_back(vip_id);
  seen.own.cookies[vip_id].is_on.add(1);
  seen.own.cookies[vip_id].turned_on.add(1);
}

void CookieSwitches::begin_period(const Seen& seen, std::uint32_t vip_id) {
  rows_[vip_id].sent = cookies_sent(seen, vip_id);
  rows_[vip_id].accepted = cookies_accepted(seen, vip_id);
}

bool CookieSwitches::is_quiet(const Seen& seen, const Snapshot& tables, std::uint32_t vip_id) {
  const VipRow* vip = tables.vip_by_id(vip_id);
  if (vip == nullptr || vip->syn_cookies != SynCookies::on_threshold) return true;
  const Row& row = rows_[vip_id];
  const std::uint64_t sent = cookies_sent(seen, vip_id) - row.sent;
  const std::uint64_t accepted = cookies_accepted(seen, vip_id) - row.accepted;
  const std::uint64_t unanswered = sent - std::min(sent, accepted);
  const std::uint64_t would_be_half_open = unanswered * tables.node().tcp_opening_ms / period_ms;
  return 2 * std::max(would_be_half_open, half_open(seen, vip_id)) < tables.limits_of(*vip)->cookie_threshold;
}

void CookieSwitches::review(const Seen& seen, const Snapshot& tables, Instant now) {
  if (on_.empty() || now < reviewed_ + Milliseconds{period_ms}) return;
  reviewed_ = now;
  std::erase_if(on_, [&](std::uint32_t vip_id) {
    Row& row = rows_[vip_id];
    if (!is_quiet(seen, tables, vip_id)) row.quiet_since_ms = now.ms;
    begin_period(seen, vip_id);
    if (now.ms - row.quiet_since_ms < quiet_ms_min) return false;
    row.is_on = false;
    row.valid_until_ms = now.ms + cookie_lifetime_ms;
    seen.own.cookies[vip_id].is_on.subtract(1);
    return true;
  });
}

}  // namespace sluice
