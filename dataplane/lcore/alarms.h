// Alarms: which limits are being hit. A limit that drops traffic is a counter on the packet path and an alarm
// here: a line in the log when it begins, one when it is over, and an entry in `status` meanwhile.
//
// Pure: fed with counter readings and the time. Threads: the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/pipeline/verdict.h"

namespace sluice {

struct Alarm {
  Verdict verdict = Verdict::undecided;
  Instant since;
  Instant last_rise;
  std::uint64_t packets = 0;  // lost since it began
};

class Alarms {
 public:
  // An alarm is over when its counter has not risen for this long.
  static constexpr Milliseconds quiet{10'000};

  struct Event {
    bool is_raised = false;  // else: over
    Alarm alarm;
  };

  // `read` gives a verdict's counter over all lcores. What began or ended since the last call.
  std::vector<Event> observe(const std::function<std::uint64_t(Verdict)>& read, Instant now);
  const std::vector<Alarm>& active() const { return active_; }

 private:
  std::array<std::uint64_t, verdict_count> last_{};
  std::vector<Alarm> active_;
};

}  // namespace sluice
