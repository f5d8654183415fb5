// Watch: sees packets on their way through one lcore's pipeline, for the traces and captures that
// an operator asks for. While nobody does, world.watch is null, and a burst pays one branch for it.
//
//   lcore:   arrived() -> passed(stage) ... -> processed() -> ended()      for each burst;  left()
//   for other frames reader:  drain(), lost()
//
// What a job's filter matches is written as one entry into a bounded ring; the control thread reads
// it, makes text and files of it. A filter may ask for the verdict, so each packet of a burst is
// noted first and judged at its end. Threads: one lcore and one reader. The jobs never change: a
// new set is a new Watch. Memory:  fixed at construction. A full ring loses entries, counted by
// job.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/spsc_bytes.h"
#include "dataplane/net/client_hello.h"
#include "dataplane/pipeline/counters.h"
#include "dataplane/pipeline/packet.h"
#include "dataplane/pipeline/packet_filter.h"

namespace sluice {

struct World;

enum class Stage : std::uint8_t {
  arrival,
  parse,
  find_flow,
  classify,
  limit_packets,
  peek,
  open_flow,
  rewrite,
  next_hop,
  settle
};
std::string_view name_of(Stage stage);

struct WatchJob {
  std::uint32_t id = 0;
  PacketFilter filter;
  std::uint64_t count_max = 0;   // entries, from one lcore
  std::uint16_t snap_bytes = 0;  // of each frame; 0: none
  bool wants_received = true;    // the frame as it came in
  bool wants_sent = true;        // the frame as it leaves
};

// A name copied out of the snapshot, which may be another one when the entry is read.
template <std::size_t bytes_max>
struct EntryText {
  char text[bytes_max] = {};
  void set(std::string_view name) {
    std::memcpy(text, name.data(), std::min(name.size(), bytes_max - 1));
  }
  std::string_view view() const { return {text, strnlen(text, bytes_max)}; }
};
using EntryName = EntryText<64>;  // names of objects are DNS labels
using EntryServerName = EntryText<server_name_bytes_max + 1>;

struct WatchEntry {
  std::uint32_t job = 0;
  std::uint16_t received_bytes = 0, sent_bytes = 0;  // of the frames
  std::uint16_t received_snapped = 0,
                sent_snapped = 0;  // of them that follow the entry, in this order
  std::uint64_t time_ns = 0;       // Unix time of the burst
  std::uint8_t lcore = 0;
  std::uint8_t hops = 0;                 // lcores that handed it on before
  Verdict verdict = Verdict::undecided;  // undecided: a frame that the balancer made
  Stage decided_in = Stage::settle;
  bool has_before = false, has_after = false, has_flow = false, has_named = false;
  bool is_flow_new = false;
  bool has_called = false;     // a client's first bytes that led to a call of `endpoint`
  bool was_received = false;  // false: made by the balancer, or it left the hold queue
  FrameKind kind = FrameKind::other;
  FrameKind after_kind = FrameKind::other;  // another one when it leaves in a tunnel
  Direction direction = Direction::to_endpoint;
  FlowState flow_state = FlowState::unused;
  std::uint8_t tcp_flags = 0, ttl = 0;
  MacAddress next_mac{};  // to which it leaves
  FlowKey before, after;
  FlowKey from_client, from_endpoint;  // of the flow, as packets arrive
  FlowKey named;                       // of the client that a PROXY header names
  EntryName port_in, port_out, vip, virtual_host, endpoint;
  EntryServerName server_name;         // that a ClientHello gives
};

class Watch {
 public:
  static constexpr std::size_t jobs_max = 8;
  static constexpr std::size_t ring_bytes = 2u << 20;

  explicit Watch(std::vector<WatchJob> jobs);

  std::uint64_t time_ns = 0;  // set by the worker, for the burst that follows

  void arrived(const Burst& burst);
  void passed(Stage stage, Burst& burst);
  void processed(Burst& burst);
  void ended(const World& world, Burst& burst);
  // A frame outside of a burst: our own, or one that left the hold queue.
  void left(const World& world, std::span<const std::byte> frame, std::uint16_t tx_port,
            Verdict verdict);

  // Hands at most `count_max` entries with their received and sent bytes to `visit`. How many there
  // were.
  template <class Visit>
  std::size_t drain(std::size_t count_max, Visit visit) {
    std::size_t count = 0;
    for (auto record = ring_.front(); !record.empty() && count < count_max;
         record = ring_.front(), ++count) {
      WatchEntry entry;
      std::memcpy(static_cast<void*>(&entry), record.data(), sizeof entry);
      const auto bytes = record.subspan(sizeof entry);
      visit(entry, bytes.first(entry.received_snapped),
            bytes.subspan(entry.received_snapped, entry.sent_snapped));
      ring_.pop();
    }
    return count;
  }
  std::uint64_t lost(std::size_t job_index) const { return lost_[job_index].read(); }
  std::span<const WatchJob> jobs() const { return jobs_; }

 private:
  struct Note {  // of one packet of the burst
    std::uint16_t received_bytes = 0, sent_bytes = 0;
    Verdict verdict = Verdict::undecided;  // when process_burst was through
    Stage decided_in = Stage::settle;
    Stage flow_from = Stage::settle;
    bool has_flow = false, has_after = false;
    FrameKind after_kind = FrameKind::other;
    FlowKey after;
    MacAddress next_mac{};
    EntryServerName server_name;  // of a ClientHello in one segment
  };

  std::byte* received_of(std::size_t index) { return copies_.get() + index * 2 * snap_max_; }
  std::byte* sent_of(std::size_t index) { return received_of(index) + snap_max_; }
  void fill(const World& world, const Packet& packet, const Note& note, WatchEntry& entry);
  void fill_pending(const World& world, const Packet& packet, WatchEntry& entry);
  void offer(WatchEntry& entry, const std::byte* received, const std::byte* sent);

  std::vector<WatchJob> jobs_;
  std::array<std::uint64_t, jobs_max> left_{};  // entries that each job may still write
  std::array<Counter, jobs_max> lost_;
  std::size_t snap_max_ = 0;
  std::unique_ptr<std::byte[]> copies_;  // received and sent bytes of a burst's packets
  std::array<Note, burst_count_max> notes_;
  SpscBytes ring_;
};

}  // namespace sluice
