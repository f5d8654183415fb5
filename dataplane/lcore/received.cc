#include "dataplane/lcore/received.h"

#include <rte_mbuf.h>
#include <rte_prefetch.h>

namespace sluice {
namespace {

// The peer of a memif, or a driver with a fault, may say anything.
[[gnu::noinline, gnu::cold]] Verdict fault_of(const rte_mbuf& mbuf) {
  const bool is_chain = mbuf.nb_segs > 1 && mbuf.next != nullptr;
  return is_chain ? Verdict::drop_segmented : Verdict::drop_descriptor_invalid;
}

}  // namespace

void add_received(Burst& burst, rte_mbuf& mbuf, std::uint16_t port, std::uint8_t hops) {
  Packet& packet = burst.add();
  packet.data = rte_pktmbuf_mtod(&mbuf, std::byte*);
  packet.handle = &mbuf;
  packet.bytes = mbuf.data_len;
  packet.headroom = mbuf.data_off;
  packet.port = port;
  packet.hops = hops;
  if (mbuf.nb_segs != 1 || mbuf.pkt_len != mbuf.data_len || mbuf.data_off + std::uint32_t{mbuf.data_len} > mbuf.buf_len) [[unlikely]] {
    packet.verdict = fault_of(mbuf);
    return;
  }
  rte_prefetch0(packet.data);
}

}  // namespace sluice
