// Generator: the loop of one core. It sends the clients' packets at a rate, plays the endpoints
// when asked to, and accounts for everything that comes back.
//
//   clients' port   sends requests, receives answers; answers ARP and neighbour solicitations
//   endpoints' port (may be the same) receives what the device under test sends to endpoints, and
//                   sends their answers
//
// Threads: everything on one thread, except stop() and counts(), which any may call.
// Memory: 32 bytes a flow. Nothing is allocated while packets are sent.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/net/parse.h"
#include "perf/common/histogram.h"
#include "perf/common/memory.h"
#include "perf/pktgen/counts.h"
#include "perf/pktgen/flows.h"
#include "perf/pktgen/pacer.h"
#include "perf/pktgen/stamp.h"
#include "perf/pktgen/train.h"

struct rte_mbuf;
struct rte_mempool;

namespace sluice::perf {

enum class Kind : std::uint8_t {
  udp,          // packets of flows that need no opening
  tcp,          // segments of connections that are opened first and stay open
  syn,          // SYNs, each of the next five-tuple
  connections,  // whole connections, see train.h; the rate is that of connections
};

struct Traffic {
  Kind kind = Kind::udp;
  std::vector<AddressPort> vips;  // empty: nobody sends, this process is endpoints only
  Clients clients;
  std::uint32_t flows = 1'000;  // connections: how many may be open at the same time
  Distribution distribution;
  std::vector<Size> sizes{{64, 1}};
  std::uint16_t exchanges = 1;   // per connection
  double timeout_seconds = 0.5;  // without an answer a connection is given up
                                 // udp, tcp: frames of both directions are written once and sent
                                 // again and again; what comes back is
  // counted, and every 64th looked at. Half the generator's work: for devices faster than it.
  bool is_prebuilt = false;
  bool has_handshake = true;              // tcp: false for a device that only hands packets back
  bool verifies = false;                  // checksums of all that arrives
  std::optional<AddressRange> endpoints;  // all there are; anything else is wrong

  std::uint8_t protocol_number() const { return kind == Kind::udp ? protocol::udp : protocol::tcp; }
  // What headers and stamp take, FCS included: no packet with a payload is smaller.
  std::uint16_t size_least() const;
};

// Where a run's packets go in and out.
struct GeneratorPorts {
  std::uint16_t clients = 0;
  std::optional<std::uint16_t> endpoints;  // may be the same as `clients`
  MacAddress clients_mac{}, endpoints_mac{};
  rte_mempool* pool = nullptr;
};

struct FlowLosses {
  std::uint32_t flows_with_loss = 0, flows_reordered = 0, flows_unused = 0;
  std::uint32_t worst_loss = 0;  // packets of one flow
  std::uint64_t twice = 0;       // packets that came back more often than they were sent
};

class Generator {
 public:
  // Errors: more flows than five-tuples, sizes that are too small.
  static Result<std::unique_ptr<Generator>> create(const Traffic& traffic,
                                                   const GeneratorPorts& ports);

  // Everything from here on ends early after stop().
  // Who has this address? Asks until somebody answers.
  bool find_gateway(const IpAddress& gateway, double seconds);
  void set_gateway(MacAddress mac) { gateway_mac_ = mac; }
  // Opens all flows (tcp only). How many are open.
  std::uint32_t open_flows(double per_second, double seconds);
  // Writes the frames of prebuilt traffic, which wants the flows to be open: a packet of every flow
  // goes to its endpoint and back, and what it looked like there is kept. How many flows did.
  std::uint32_t prebuild(double seconds);
  // Forgets what was counted per flow and in the histograms.
  void begin_measuring();
  void run(double per_second, double seconds);
  // Receives and answers only, until nothing has come for `quiet_seconds`, at most `seconds`.
  void settle(double quiet_seconds, double seconds);

  void stop() { is_stopping_.store(true, std::memory_order_relaxed); }
  bool is_stopping() const { return is_stopping_.load(std::memory_order_relaxed); }
  const Counts& counts() const { return counts_; }

  const Histogram& latency_ns() const { return latency_; }      // of stamped packets
  const Histogram& handshake_ns() const { return handshake_; }  // SYN to SYN-ACK
  FlowLosses flow_losses() const;
  double mean_frame_bytes() const { return sizes_.mean_bytes() + 4; }  // FCS included

 private:
  struct Slot {
    Train train;
    std::uint32_t tuple = 0;
    std::uint32_t sent = 0, received = 0;  // stamped packets
    Arrivals arrivals;
    std::uint16_t reordered = 0;
    std::uint32_t touched = 0;  // stamp_time() of the last step of the train
  };
  static_assert(sizeof(Slot) == 32);
  static constexpr std::uint32_t burst_count_max = 32;
  static constexpr std::uint32_t queue_count_max = 1'024;

  struct Reply {  // whose packet this may be the answer to
    Slot* slot = nullptr;
    std::uint32_t tuple = 0;
  };

  // Packets on their way to a port. What the port does not take stays, and no new requests are made
  // meanwhile; answers are, and what finds the queue full is lost and counted: to stop receiving
  // instead would let two that wait for each other wait for ever.
  struct TxQueue {
    std::uint16_t port = 0;
    std::uint32_t count = 0;
    std::array<rte_mbuf*, queue_count_max> mbufs{};
    bool is_empty() const { return count == 0; }
  };

  Generator(const Traffic& traffic, const GeneratorPorts& ports, Tuples tuples);
  ~Generator();
  friend struct std::default_delete<Generator>;

  void publish_now_and_then() {
    if (++rounds_ % 1'024 == 0) counts_.publish();
  }
  void flush(TxQueue& queue);
  void push(TxQueue& queue, rte_mbuf* mbuf);
  bool serve();  // both ports; whether anything came
  bool receive(std::uint16_t port);
  void handle(rte_mbuf* mbuf, const ParsedFrame& parsed, const Reply& reply, bool is_at_endpoints);
  void on_reply(std::span<const std::byte> frame, const ParsedFrame& parsed, const Reply& reply);
  void on_answer(Slot& slot, const std::byte* payload, std::uint32_t payload_bytes);
  void on_train(Slot& slot, const TcpHeader& tcp, std::uint32_t payload_bytes);
  void acknowledge_stray_fin(const ParsedFrame& parsed, const TcpHeader& tcp);
  bool is_right(std::span<const std::byte> frame, const ParsedFrame& parsed);

  std::uint32_t send_some(std::uint32_t most);
  std::uint32_t send_stream(std::uint32_t most);
  std::uint32_t send_connections(std::uint32_t most);
  void replace_flows(std::uint64_t now);
  std::uint32_t send_prebuilt(std::uint32_t most);
  bool receive_prebuilt(std::span<rte_mbuf*> mbufs, bool is_at_endpoints);
  void learn(std::span<const std::byte> reply, const std::byte* payload);
  bool send_segment(Slot& slot, const TrainSegment& segment);
  bool send_stamped(Slot& slot, std::uint8_t tcp_flags, std::uint32_t sequence, std::uint64_t now);
  bool send_steps(Slot& slot, const TrainStep& step);
  void begin_slot(std::uint32_t index, std::uint64_t now);
  void sweep(std::uint64_t now);
  bool needs_sweep() const;
  rte_mbuf* new_frame();
  void send_bare(const FlowKey& key, std::uint8_t tcp_flags, std::uint32_t sequence,
                 std::uint32_t acknowledgment);

  Traffic traffic_;
  GeneratorPorts ports_;
  Tuples tuples_;
  SlotOrder order_;
  SizeOrder sizes_;
  MappedRows<Slot> slots_;
  std::vector<IpAddress> vip_addresses_;
  // Prebuilt: the beginning of a frame, as far as it is not zero; the client's and the endpoint's
  // of
  // each flow beside each other.
  struct Template {
    std::array<std::byte, 96> bytes{};
    std::uint16_t frame_bytes = 0;  // 0: not known
  };
  std::vector<Template> templates_;
  bool is_learning_ = false, is_replaying_ = false;
  std::uint32_t replayed_ = 0, looked_at_ = 0;
  std::vector<std::uint32_t> free_;  // connections: slots without one; a ring
  std::uint32_t free_first_ = 0, free_count_ = 0;
  std::uint32_t cursor_ = 0;  // the next slot to be opened, or replaced
  std::uint32_t sweep_cursor_ = 0;
  std::uint64_t swept_ = 0;
  std::uint32_t opening_ = 0;  // connections between SYN and SYN-ACK
  std::optional<Pacer> churn_;
  bool retries_ = false;
  MacAddress gateway_mac_ = MacAddress::broadcast();
  std::optional<IpAddress> wanted_gateway_;
  bool has_gateway_ = false;
  TxQueue to_clients_, to_endpoints_;
  TxQueue* endpoints_queue_ = nullptr;
  Histogram latency_, handshake_;
  double ns_per_stamp_ = 1;
  std::uint64_t now_ = 0;  // when the burst in hand came, or is made: its packets share it
  std::array<rte_mbuf*, burst_count_max> fresh_{}, done_{};  // to be written; to be freed
  std::uint32_t fresh_count_ = 0, done_count_ = 0;
  std::uint32_t rounds_ = 0;
  Counts counts_;
  std::atomic<bool> is_stopping_{false};
};

}  // namespace sluice::perf
