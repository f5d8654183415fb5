// Settler: carries out what the pipeline decided, for one lcore. The only place that sends, punts, hands on
// and frees packets, and that counts them.
//
// Every packet of the burst ends in exactly one of: a port's transmit queue, the exception port, another
// lcore's ring, the neighbour table's hold queue, the buffer pool. What a queue or ring does not take becomes
// a drop before it is counted, so the ledger (pipeline/counters.h) balances.
// Threads: the lcore's. Memory: fixed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/io/link_watch.h"
#include "dataplane/pipeline/process_burst.h"

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace sluice {

// A word in memory that several lcores may spin on, in a line of its own.
struct alignas(64) QueueLock {
  std::atomic_flag is_taken = ATOMIC_FLAG_INIT;
};

struct TxQueue {
  std::uint16_t ethdev = 0;
  std::uint16_t queue = 0;
  QueueLock* lock = nullptr;  // set when more lcores than queues share the port
  const LinkState* link = nullptr;  // of the kernel's interface behind the port, when there is one
};

struct SettlePlan {
  std::vector<TxQueue> ports;       // by slot
  std::optional<TxQueue> exception;
  std::vector<rte_ring*> rings;     // by target lcore; nullptr for oneself
  rte_mempool* pool = nullptr;
  rte_mempool* jumbo_pool = nullptr;  // for what does not fit the other's buffers; nullptr: there is no such port
};

// One writer, the lcore; any readers.
struct SentCounters {
  std::array<Counter, ports_max> by_slot;
  std::array<Counter, ports_max> refused_by_slot;  // tx full, link down
  Counter to_kernel;
};

class Settler {
 public:
  explicit Settler(SettlePlan plan) : plan_(std::move(plan)) {}

  using SlotOfRow = std::array<std::optional<std::uint16_t>, ports_max>;

  // The ports of the snapshot that the world has now.
  void bind(const SlotOfRow& slot_of_row) { slot_of_row_ = slot_of_row; }
  void settle(World& world, Burst& burst);
  const SentCounters& sent() const { return sent_; }
  std::size_t in_rings() const;  // what waits for other lcores; any thread

 private:
  static constexpr std::uint32_t batch_count_max = 64;

  struct Batch {
    std::array<rte_mbuf*, batch_count_max> mbufs;
    std::array<Verdict*, batch_count_max> verdicts;  // nullptr: a frame of our own
    std::uint32_t count = 0;
  };

  void send_released(World& world);
  // Those that may show a part of a packet, while that is here.
  void make_long_generated(World& world);
  void send_generated(World& world);
  void take_care_of(World& world, Packet& packet);
  rte_mbuf* buffer_of(World& world, const GeneratedFrame& frame);  // nullptr: none is free
  void copy_to_others(World& world, const Packet& packet);
  // Into the batch of the port with this row of the snapshot, or of the exception port.
  void put(World& world, std::uint16_t tx_port, rte_mbuf* mbuf, Verdict* verdict);
  void flush(World& world, std::uint16_t slot);  // ports_max stands for the exception port
  static void refuse(World& world, Verdict* verdict, Verdict reason);
  std::optional<std::uint16_t> slot_of(std::uint16_t tx_port) const;

  SettlePlan plan_;
  SlotOfRow slot_of_row_{};
  std::array<Batch, ports_max + 1> batches_;
  std::array<rte_mbuf*, generated_count_max> generated_{};  // of this burst: by place, the long ones
  SentCounters sent_;
};

// What travels with a buffer through a ring beside its bytes.
void set_hops(rte_mbuf& mbuf, std::uint8_t hops);
std::uint8_t hops_of(const rte_mbuf& mbuf);

}  // namespace sluice
