// Rig: one worker's world, built as the product builds it, with as many flows as a benchmark wants.
// Benchmarks write frames into a Batch and run it through process_burst(); what leaves is verified.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dataplane/pipeline/process_burst.h"
#include "dataplane/tables/snapshot_writer.h"
#include "perf/bench/packets.h"
#include "perf/common/memory.h"

namespace sluice::perf {

struct Setup {
  std::uint32_t flows = 1'000;  // established ones
  std::uint8_t protocol_number = protocol::tcp;
  bool is_v6 = false;          // clients and the VIP
  bool is_translated = false;  // endpoints and SNAT addresses are of the other family
  Forwarding forwarding = Forwarding::full_nat;
  std::uint32_t capacity = 0;   // 0: room for the flows and some more
  std::uint32_t vip_count = 1;  // the flows use the first; the others have a cluster of 10 each
  std::uint32_t closed_ms = 10'000;
  Instant now{1'000'000};  // virtual, unless a Worker with its own clock takes over
};

inline constexpr std::uint32_t endpoint_count = 100;
inline constexpr std::uint16_t closed_port = 81;  // no VIP
inline constexpr std::uint16_t empty_port = 82;   // a VIP whose cluster has no endpoint

// Ends the program: a figure taken with broken packets is none.
[[noreturn]] void broken(const std::string& what);

SnapshotBuffer make_snapshot(const Setup& setup, std::uint64_t generation);

class Rig {
 public:
  explicit Rig(const Setup& setup);
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  const Setup& setup() const { return setup_; }
  World& world() { return *world_; }
  const Snapshot& tables() const { return tables_; }
  std::unique_ptr<World> take_world() { return std::move(world_); }  // for a Worker
  std::size_t bytes_of_world() const { return bytes_of_world_; }

  FlowKey client_key(std::uint32_t flow) const {
    return key_of(flow, setup_.protocol_number, setup_.is_v6);
  }
  FlowKey reply_key(std::uint32_t flow) const;
  std::uint32_t fresh_flow() { return fresh_++; }
  std::uint32_t random_flow() { return order_.next(); }

  // Time passes, and the next hops go on answering.
  void advance(Milliseconds time);
  void answer_neighbors();

  // Whether the packet that opened a flow leaves for one of the endpoints from one of our
  // addresses.
  void check_opened(const Packet& packet) const;

 private:
  struct Reply {
    std::uint32_t snat;  // port in the low half, index of the SNAT address in the high one
    std::uint32_t endpoint;
  };

  void establish();

  Setup setup_;
  SnapshotBuffer buffer_;
  Snapshot tables_;
  MappedRows<FlowRecord> records_;
  std::unique_ptr<World> world_;
  std::size_t bytes_of_world_ = 0;
  MappedRows<Reply> replies_;  // huge pages: writing a batch must not cost the contestant its TLB
  FlowOrder order_;
  std::uint32_t fresh_ = 200'000'000;
};

// Frames that go through the pipeline together, in bursts of 32.
class Batch {
 public:
  void clear() { count_ = 0; }
  void add(const FlowKey& key, std::uint8_t tcp_flags) {
    bytes_[count_] = write_frame(frame(count_), key, tcp_flags);
    ++count_;
  }
  std::size_t count() const { return count_; }
  bool is_full() const { return count_ == batch_count; }

  // clk in all for process_burst, maintain and the counting; `visit` sees each burst, not counted.
  std::uint64_t run(World& world, const std::function<void(Burst&, std::size_t first)>& visit);
  void fill(Burst& burst, std::size_t first);

 private:
  static constexpr std::uint16_t headroom = sizeof(Frame);
  std::byte* frame(std::size_t i) { return frames_[3 * i + 1].bytes; }

  std::vector<Frame> frames_{3 * batch_count};  // headroom and two lines each
  std::array<std::uint16_t, batch_count> bytes_{};
  std::size_t count_ = 0;
  Burst burst_;
};

// Ends the program unless the packet leaves with this five-tuple and both checksums right.
void check_leaves_as(Packet& packet, const FlowKey& expected);

}  // namespace sluice::perf
