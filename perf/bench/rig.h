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
  Forwarding forwarding = Forwarding::full_nat;  // with a tunnel only clients' packets pass, as the endpoints answer by themselves
  std::uint32_t capacity = 0;   // 0: room for the flows and some more
  std::uint32_t vip_count = 1;  // the flows use the first; the others have a cluster of 10 each
  std::uint32_t closed_ms = 10'000;
  std::uint32_t prefix_count = 0;  // networks that may come or may not, /24 each, before all others may
  std::uint32_t blocked_count = 0;  // networks on the node's blocklist, /24 each
  std::uint32_t route_count = 0;    // through the gateway, /16 to /24, beside the default one
  Instant now{1'000'000};  // virtual, unless a Worker with its own clock takes over
};

inline constexpr std::uint32_t endpoint_count = 100;
inline constexpr std::uint16_t closed_port = 81;  // no VIP
inline constexpr std::uint16_t empty_port = 82;   // a VIP whose cluster has no endpoint
inline constexpr std::uint16_t cookie_port = 83;  // TCP: a VIP that answers every SYN with a cookie
inline constexpr std::uint32_t first_spread_client = 0x0b000000, first_denied_client = 0x64000000;  // 11/8 and 100/8 onward
// Of a list of /24 networks from `first` on, with three more between any two.
constexpr std::uint32_t listed_network(std::uint32_t first, std::uint32_t number) { return first + number * 4 * 256; }
inline constexpr std::uint32_t server_name_count = 100;  // of the first VIP, when it splices: server_name(0) and so on
std::string server_name(std::uint32_t number);

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
  // Direct server return: whether `client`'s packet leaves in a tunnel for an endpoint, whole inside.
  void check_tunneled(Packet& packet, const FlowKey& client) const;

 private:
  struct Reply {
    std::uint32_t snat;  // port in the low half, index of the SNAT address in the high one
    std::uint32_t endpoint;
  };

  void establish();
  void establish_spliced();
  void pass_each();
  void note_reply(std::uint32_t flow, const FlowRecord& record);

  Setup setup_;
  SnapshotBuffer buffer_;
  Snapshot tables_;
  MappedRows<FlowRecord> records_;
  MappedRows<SpliceRecord> splice_records_;
  SharedLimits shared_limits_{HashSecret{0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53}};
  std::unique_ptr<World> world_;
  std::size_t bytes_of_world_ = 0;
  MappedRows<Reply> replies_;  // huge pages: writing a batch must not cost the contestant its TLB
  FlowOrder order_;
  std::uint32_t fresh_ = 200'000'000;
};

// Frames that go through the pipeline together, in bursts of 32. In huge pages, as packet buffers are.
class Batch {
 public:
  // With room for frames of this many bytes.
  explicit Batch(std::size_t frame_bytes_max = 2 * sizeof(Frame))
      : lines_(1 + (frame_bytes_max + sizeof(Frame) - 1) / sizeof(Frame)), frames_(lines_ * batch_count) {}
  void clear() { count_ = 0; }
  void add(const FlowKey& key, std::uint8_t tcp_flags) {
    bytes_[count_] = write_frame(frame(count_), key, tcp_flags);
    ++count_;
  }
  // With a payload that is there already (`payload_bytes` zeros in a fresh batch), or is put there.
  void add(const FlowKey& key, const FrameFields& fields, std::span<const std::byte> payload = {}) {
    bytes_[count_] = write_headers(frame(count_), key, fields);
    if (!payload.empty()) std::memcpy(frame(count_) + payload_offset_of(key), payload.data(), payload.size());
    ++count_;
  }
  std::size_t count() const { return count_; }
  bool is_full() const { return count_ == batch_count; }
  std::span<std::byte> bytes(std::size_t i) { return {frame(i), bytes_[i]}; }

  // clk in all for process_burst, maintain and the counting; `visit` sees each burst, not counted.
  std::uint64_t run(World& world, const std::function<void(Burst&, std::size_t first)>& visit);
  void fill(Burst& burst, std::size_t first);

 private:
  static constexpr std::uint16_t headroom = sizeof(Frame);
  std::byte* frame(std::size_t i) { return frames_[lines_ * i + 1].bytes; }

  std::size_t lines_;  // of a frame, its headroom included
  MappedRows<Frame> frames_;
  std::array<std::uint16_t, batch_count> bytes_{};
  std::size_t count_ = 0;
  Burst burst_;
};

// End the program unless the packet leaves; with this five-tuple and both checksums right.
void check_forwarded(const Packet& packet);
void check_leaves_as(Packet& packet, const FlowKey& expected);
void check_leaves_as(std::span<const std::byte> frame, const FlowKey& expected);

}  // namespace sluice::perf
