#include "dataplane/lcore/alarms.h"

#include <algorithm>

namespace sluice {
namespace {

// Full tables, empty pools, consumers that do not keep up, pulled cables: what an operator can and must do something about.
constexpr Verdict limits[] = {
    Verdict::drop_flows_full,     Verdict::drop_snat_ports_exhausted, Verdict::drop_neighbors_full,
    Verdict::drop_handoff_full,   Verdict::drop_tx_full,              Verdict::drop_no_buffer,
    Verdict::drop_no_snat_address, Verdict::drop_link_down};

}  // namespace

std::vector<Alarms::Event> Alarms::observe(const std::function<std::uint64_t(Verdict)>& read, Instant now) {
  std::vector<Event> events;
  for (const Verdict verdict : limits) {
    std::uint64_t& last = last_[static_cast<std::size_t>(verdict)];
    const std::uint64_t count = read(verdict);
    const std::uint64_t rise = count - last;
    last = count;
    const auto known =
        std::find_if(active_.begin(), active_.end(), [&](const Alarm& alarm) { return alarm.verdict == verdict; });
    if (rise > 0 && known == active_.end()) {
      active_.push_back({verdict, now, now, rise});
      events.push_back({true, active_.back()});
    } else if (rise > 0) {
      known->packets += rise;
      known->last_rise = now;
    } else if (known != active_.end() && known->last_rise + quiet <= now) {
      events.push_back({false, *known});
      active_.erase(known);
    }
  }
  return events;
}

}  // namespace sluice
