#include "dataplane/lcore/settle.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include <cstring>

#include "dataplane/pipeline/watch.h"

namespace sluice {
namespace {

constexpr std::uint16_t exception_slot = exception_port;
constexpr unsigned tx_tries = 2;  // the second finds the room that the first made by waking the driver

// The pipeline may have moved the start or the end of the frame.
void fit(rte_mbuf& mbuf, const std::byte* data, std::uint16_t bytes) {
  mbuf.data_off = static_cast<std::uint16_t>(data - static_cast<const std::byte*>(mbuf.buf_addr));
  mbuf.data_len = bytes;
  mbuf.pkt_len = bytes;
}

class LockGuard {
 public:
  explicit LockGuard(QueueLock* lock) : lock_(lock) {
    if (lock_ == nullptr) return;
    while (lock_->is_taken.test_and_set(std::memory_order_acquire)) rte_pause();  // pairs with the release below
  }
  ~LockGuard() {
    if (lock_ != nullptr) lock_->is_taken.clear(std::memory_order_release);
  }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  QueueLock* lock_;
};

Verdict reason_to_refuse(bool is_to_kernel) { return is_to_kernel ? Verdict::drop_exception_full : Verdict::drop_tx_full; }

// How many of the packets the port takes.
std::uint32_t transmit(const TxQueue& queue, std::span<rte_mbuf*> mbufs) {
  const LockGuard guard(queue.lock);
  std::uint32_t sent = 0;
  for (unsigned tries = 0; tries < tx_tries && sent < mbufs.size(); ++tries) {
    sent += rte_eth_tx_burst(queue.ethdev, queue.queue, mbufs.data() + sent, static_cast<std::uint16_t>(mbufs.size() - sent));
  }
  return sent;
}

}  // namespace

void set_hops(rte_mbuf& mbuf, std::uint8_t hops) { mbuf.hash.usr = hops; }
std::uint8_t hops_of(const rte_mbuf& mbuf) { return static_cast<std::uint8_t>(mbuf.hash.usr); }

std::optional<std::uint16_t> Settler::slot_of(std::uint16_t tx_port) const {
  if (tx_port == exception_port) return plan_.exception ? std::optional(exception_slot) : std::nullopt;
  return tx_port < ports_max ? slot_of_row_[tx_port] : std::nullopt;
}

void Settler::put(World& world, std::uint16_t tx_port, rte_mbuf* mbuf, Verdict* verdict) {
  const auto slot = slot_of(tx_port);
  if (!slot) {
    rte_pktmbuf_free(mbuf);
    return refuse(world, verdict, reason_to_refuse(tx_port == exception_port));
  }
  Batch& batch = batches_[*slot];
  batch.mbufs[batch.count] = mbuf;
  batch.verdicts[batch.count] = verdict;
  if (++batch.count == batch_count_max) flush(world, *slot);
}

void Settler::settle(World& world, Burst& burst) {
  // What waits is given its final shape first: it may be among the released already.
  for (Packet& packet : burst.all()) {
    if (packet.verdict == Verdict::hold) fit(*static_cast<rte_mbuf*>(packet.handle), packet.data, packet.bytes);
    if (packet.is_shared) copy_to_others(world, packet);
  }
  make_long_generated(world);
  send_released(world);
  for (Packet& packet : burst.all()) take_care_of(world, packet);
  send_generated(world);
  for (std::uint16_t slot = 0; slot <= exception_slot; ++slot) {
    if (batches_[slot].count > 0) flush(world, slot);
  }
  for (const ReleasedPacket& released : world.released.items()) world.counters.of(released.verdict).add(1);
  world.counters.released.add(world.released.items().size());
  world.released.clear();
  world.generated.clear();
  count_verdicts(world, burst);
  burst.count = 0;
}

void Settler::take_care_of(World& world, Packet& packet) {
  auto* mbuf = static_cast<rte_mbuf*>(packet.handle);
  if (is_sent(packet.verdict)) {
    fit(*mbuf, packet.data, packet.bytes);
    return put(world, packet.tx_port, mbuf, &packet.verdict);
  }
  switch (packet.verdict) {
    case Verdict::punt:
      fit(*mbuf, packet.data, packet.bytes);
      return put(world, exception_port, mbuf, &packet.verdict);
    case Verdict::hold: return;
    case Verdict::handoff: {
      set_hops(*mbuf, static_cast<std::uint8_t>(packet.hops + 1));
      rte_ring* ring = packet.target_lcore < plan_.rings.size() ? plan_.rings[packet.target_lcore] : nullptr;
      if (ring != nullptr && rte_ring_sp_enqueue(ring, mbuf) == 0) return;
      packet.verdict = Verdict::drop_handoff_full;
      break;
    }
    default: break;
  }
  rte_pktmbuf_free(mbuf);
}

void Settler::copy_to_others(World& world, const Packet& packet) {
  for (rte_ring* ring : plan_.rings) {
    if (ring == nullptr) continue;
    const auto& original = *static_cast<const rte_mbuf*>(packet.handle);
    rte_mbuf* copy = rte_pktmbuf_copy(&original, plan_.pool, 0, UINT32_MAX);
    if (copy == nullptr) {  // the other lcores will ask for themselves
      world.counters.own_no_buffer.add(1);
      return;
    }
    copy->port = original.port;
    set_hops(*copy, static_cast<std::uint8_t>(packet.hops + 1));
    if (rte_ring_sp_enqueue(ring, copy) == 0) {
      world.counters.copied.add(1);
    } else {
      world.counters.own_refused.add(1);
      rte_pktmbuf_free(copy);
    }
  }
}

void Settler::send_released(World& world) {
  for (ReleasedPacket& released : world.released.items()) {
    auto* mbuf = static_cast<rte_mbuf*>(released.handle);
    if (world.watch != nullptr) [[unlikely]] {
      world.watch->left(world, {rte_pktmbuf_mtod(mbuf, std::byte*), released.bytes}, released.tx_port, released.verdict);
    }
    if (is_sent(released.verdict)) {
      put(world, released.tx_port, mbuf, &released.verdict);
    } else {
      rte_pktmbuf_free(mbuf);
    }
  }
}

rte_mbuf* Settler::buffer_of(World& world, const GeneratedFrame& frame) {
  const auto frame_bytes = static_cast<std::uint16_t>(frame.bytes + frame.tail.size());
  const bool is_long = frame_bytes > rte_pktmbuf_data_room_size(plan_.pool) - RTE_PKTMBUF_HEADROOM;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(is_long && plan_.jumbo_pool != nullptr ? plan_.jumbo_pool : plan_.pool);
  if (mbuf == nullptr) {  // asked again later
    world.counters.own_no_buffer.add(1);
    return nullptr;
  }
  char* bytes = rte_pktmbuf_append(mbuf, frame_bytes);
  if (bytes == nullptr) {  // longer than any port takes
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  std::memcpy(bytes, frame.data.data(), frame.bytes);
  if (!frame.tail.empty()) std::memcpy(bytes + frame.bytes, frame.tail.data(), frame.tail.size());
  return mbuf;
}

void Settler::make_long_generated(World& world) {
  const auto frames = world.generated.items();
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (!frames[i].tail.empty()) generated_[i] = buffer_of(world, frames[i]);
  }
}

// The short ones are made here, where the buffers of dropped packets are free again.
void Settler::send_generated(World& world) {
  const auto frames = world.generated.items();
  for (std::size_t i = 0; i < frames.size(); ++i) {
    rte_mbuf* mbuf = frames[i].tail.empty() ? buffer_of(world, frames[i]) : generated_[i];
    if (mbuf == nullptr) continue;
    if (world.watch != nullptr) [[unlikely]] {
      world.watch->left(world, {rte_pktmbuf_mtod(mbuf, std::byte*), mbuf->data_len}, frames[i].tx_port, Verdict::undecided);
    }
    put(world, frames[i].tx_port, mbuf, nullptr);
  }
}

void Settler::refuse(World& world, Verdict* verdict, Verdict reason) {
  if (verdict != nullptr) {
    *verdict = reason;
  } else {
    world.counters.own_refused.add(1);
  }
}

void Settler::flush(World& world, std::uint16_t slot) {
  Batch& batch = batches_[slot];
  const TxQueue& queue = slot == exception_slot ? *plan_.exception : plan_.ports[slot];
  const bool is_down = queue.link != nullptr && queue.link->is_down.load(std::memory_order_relaxed);
  const std::uint32_t sent = is_down ? 0 : transmit(queue, std::span(batch.mbufs).first(batch.count));
  std::uint32_t own = 0;
  for (std::uint32_t i = 0; i < sent; ++i) own += batch.verdicts[i] == nullptr ? 1 : 0;
  for (std::uint32_t i = sent; i < batch.count; ++i) {
    rte_pktmbuf_free(batch.mbufs[i]);
    refuse(world, batch.verdicts[i], is_down ? Verdict::drop_link_down : reason_to_refuse(slot == exception_slot));
  }
  world.counters.generated.add(own);
  if (slot == exception_slot) {
    sent_.to_kernel.add(sent);
  } else {
    sent_.by_slot[slot].add(sent);
    sent_.refused_by_slot[slot].add(batch.count - sent);
  }
  batch.count = 0;
}

std::size_t Settler::in_rings() const {
  std::size_t count = 0;
  for (const rte_ring* ring : plan_.rings) {
    if (ring != nullptr) count += rte_ring_count(ring);
  }
  return count;
}

}  // namespace sluice
