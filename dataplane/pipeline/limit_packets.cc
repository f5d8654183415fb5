// Packets a second, of a virtual host and of one source. Before a flow is opened or rewritten for
// what is too much.
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

const VipRow* vip_of(const World& world, const Packet& packet) {
  if (packet.flow == nullptr) return packet.vip;
  return packet.direction == Direction::to_endpoint ? world.tables->vip_by_id(packet.flow->vip_id)
                                                    : nullptr;
}

}  // namespace

void limit_packets(World& world, Burst& burst) {
  for_each_live(burst, [&](Packet& packet) {
    const VipRow* vip = vip_of(world, packet);
    if (vip == nullptr) return;
    const VipLimitsRow& limits = *world.tables->limits_of(*vip);
    const auto within = [&](const RateLimitRow& rate, auto... who) {
      return rate.interval_ns == 0 ||
             world.rate_limits.take(who..., vip->id, RateLimits::Of::packets, rate, world.now);
    };
    // A source that sends too much takes nothing from the others.
    if (!within(limits.source_packets, packet.frame.key.source)) {
      packet.verdict = Verdict::drop_rate_source_packets;
    } else if (!within(limits.packets)) {
      packet.verdict = Verdict::drop_rate_packets;
    }
  });
}

}  // namespace sluice
