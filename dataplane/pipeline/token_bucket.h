// TokenBucket: how many things of a kind may happen in a second. A tenth of a second's worth may
// come at once. Threads: one lcore.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/base/units.h"

namespace sluice {

// Of a rate that is the node's, the part of one lcore; at least 1 unless it is 0.
inline std::uint32_t share_of(std::uint32_t rate, std::uint32_t lcore_count) {
  return (rate + lcore_count - 1) / lcore_count;
}

class TokenBucket {
 public:
  // Whether one more may happen now. `rate` is a second's worth; it may change from call to call.
  bool take(Instant now, std::uint32_t rate) {
    const std::uint64_t room =
        std::max<std::uint64_t>(std::uint64_t{rate} * 100, rate == 0 ? 0 : one);
    const std::uint64_t elapsed_ms = std::min<std::uint64_t>(now.ms - refilled_.ms, 100'000);
    level_ = std::min(room, level_ + elapsed_ms * rate);
    refilled_ = now;
    if (level_ < one) return false;
    level_ -= one;
    return true;
  }

 private:
  static constexpr std::uint64_t one =
      1'000;  // thousandths of a thing, which is what a millisecond earns at rate 1
  std::uint64_t level_ = 0;
  Instant refilled_{};
};

}  // namespace sluice
