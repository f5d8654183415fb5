// The pipeline. Around it stands the worker (../lcore):
//   receive(burst); process_burst(world, burst); maintain(world); settle(world, burst);
// Only settle sends, frees, punts, hands on, and then counts with count_verdicts().
#pragma once

#include "dataplane/pipeline/packet.h"
#include "dataplane/pipeline/world.h"

namespace sluice {

// Decides every packet of the burst and rewrites those that leave. No I/O, no allocation, no locks.
void process_burst(World& world, Burst& burst);

// Bounded work between bursts: expires flows, asks for neighbours again, gives up on silent ones.
void maintain(World& world);

// To be called after a new snapshot was put into world.tables, between two bursts.
void adopt_snapshot(World& world);

// Announces addresses of ours: gratuitous ARP (RFC 5227) and unsolicited advertisements (RFC 4861 7.2.6). Goes on from where it stopped when the outbox was full; true when all are out. `cursor` starts at 0.
bool announce(World& world, std::size_t& cursor, std::span<const IpAddress> addresses);

// Adds the verdicts of a settled burst to the counters; settle may have turned a `forward` into a drop before.
void count_verdicts(World& world, Burst& burst);

}  // namespace sluice
