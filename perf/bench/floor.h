// The floor: the work that no balancer with a flow table can avoid, and nothing else. Parse, CRC,
// rte_hash in bulk of 32, one record line, precomputed checksum deltas.
// Its lines are of one direction of `flows` flows, as in the published figures that it repeats.
#pragma once

#include <cstdint>

#include "perf/common/memory.h"
#include "perf/bench/packets.h"

struct rte_hash;

namespace sluice::perf {

class Floor {
 public:
  explicit Floor(std::uint32_t flows);
  ~Floor();
  Floor(const Floor&) = delete;
  Floor& operator=(const Floor&) = delete;

  // clk per packet over one batch of random flows; writing the frames is not counted.
  double established();

 private:
  struct Key {
    std::uint32_t source, destination;
    std::uint16_t source_port, destination_port;
    std::uint32_t protocol_number;
  };
  static_assert(sizeof(Key) == 16);
  struct alignas(64) Line {
    std::uint32_t source, destination;
    std::uint16_t source_port, destination_port, l3_delta, l4_delta;
    std::uint64_t packets, bytes, stamp;
    std::uint8_t rest[24];
  };
  static_assert(sizeof(Line) == 64);

  static Key compact(const FlowKey& key);
  std::byte* buffer(std::size_t i) { return frames_[2 * i].bytes; }
  void work(std::size_t first);

  rte_hash* hash_ = nullptr;
  MappedRows<Line> lines_;
  FlowOrder order_;
  MappedRows<Frame> frames_{2 * batch_count};
};

}  // namespace sluice::perf
