// The one place where prefetching is written down. Calls work(p) for every packet and touch(p) `ahead`
// packets earlier, so that the memory work() needs is on its way. Decided packets are skipped.
#pragma once

#include <algorithm>
#include <cstddef>

#include "dataplane/pipeline/packet.h"

namespace sluice {

template <class Touch, class Work>
void pipelined(std::span<Packet> packets, std::size_t ahead, Touch touch, Work work) {
  for (Packet& packet : packets.first(std::min(ahead, packets.size()))) {
    if (packet.is_live()) touch(packet);
  }
  for (std::size_t i = 0; i < packets.size(); ++i) {
    if (i + ahead < packets.size() && packets[i + ahead].is_live()) touch(packets[i + ahead]);
    if (packets[i].is_live()) work(packets[i]);
  }
}

template <class Work>
void for_each_live(Burst& burst, Work work) {
  for (Packet& packet : burst.all()) {
    if (packet.is_live()) work(packet);
  }
}

}  // namespace sluice
