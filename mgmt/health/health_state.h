// HealthState: what one target's probes add up to. Pure: time and chance are arguments.
//
// The first success makes an unknown target healthy at once; every other change of verdict needs
// its threshold of results in a row. A probe that was lost for reasons of our own (mgmt was
// stopped, no file descriptor was left) counts for nothing.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/units.h"
#include "mgmt/health/verdicts.h"

namespace sluice {

struct HealthPolicy {
  Milliseconds interval{5'000};
  Milliseconds timeout{2'000};
  std::uint32_t healthy_threshold = 2;
  std::uint32_t unhealthy_threshold = 3;
  std::uint32_t jitter_percent = 10;
  friend bool operator==(const HealthPolicy&, const HealthPolicy&) = default;
};

class HealthState {
 public:
  explicit HealthState(HealthVerdict verdict = HealthVerdict::unknown, std::string reason = {})
      : verdict_(verdict), reason_(std::move(reason)) {}

  // Each returns whether the verdict changed.
  bool on_success(const HealthPolicy& policy);
  bool on_failure(const HealthPolicy& policy, std::string reason);

  HealthVerdict verdict() const { return verdict_; }
  const std::string& reason() const { return reason_; }  // of the last failure while not up

 private:
  HealthVerdict verdict_;
  std::string reason_;
  std::uint32_t successes_ = 0;  // in a row
  std::uint32_t failures_ = 0;   // in a row
};

// When the probe after one that started at `started` is due: the interval, moved by up to
// jitter_percent of it either way. `chance` is any random number.
Instant next_probe(const HealthPolicy& policy, Instant started, std::uint64_t chance);

}  // namespace sluice
