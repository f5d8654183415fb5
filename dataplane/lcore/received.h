// What a driver gives, as the pipeline wants it.
#pragma once

#include "dataplane/pipeline/packet.h"

struct rte_mbuf;

namespace sluice {

// Adds a packet of `port` to the burst. What lies in several buffers, or whose descriptor cannot be, has its verdict at
// once: nothing of it will be looked at.
void add_received(Burst& burst, rte_mbuf& mbuf, std::uint16_t port, std::uint8_t hops);

}  // namespace sluice
