#include "mgmt/health/health_state.h"

namespace sluice {

bool HealthState::on_success(const HealthPolicy& policy) {
  failures_ = 0;
  if (verdict_ == HealthVerdict::up) return false;
  ++successes_;
  if (verdict_ == HealthVerdict::down && successes_ < policy.healthy_threshold) return false;
  verdict_ = HealthVerdict::up;
  reason_.clear();
  successes_ = 0;
  return true;
}

bool HealthState::on_failure(const HealthPolicy& policy, std::string reason) {
  successes_ = 0;
  if (verdict_ == HealthVerdict::down) {
    reason_ = std::move(reason);
    return false;
  }
  ++failures_;
  if (failures_ < policy.unhealthy_threshold) return false;
  verdict_ = HealthVerdict::down;
  reason_ = std::move(reason);
  failures_ = 0;
  return true;
}

Instant next_probe(const HealthPolicy& policy, Instant started, std::uint64_t chance) {
  const std::uint64_t swing = policy.interval.count * policy.jitter_percent / 100;
  const std::uint64_t moved = swing == 0 ? 0 : chance % (2 * swing + 1);
  return {started.ms + policy.interval.count - swing + moved};
}

}  // namespace sluice
