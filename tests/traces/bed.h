// Bed: the pipeline on a test bench. The lcores' Worlds around one Model, in one thread, in virtual time, without EAL.
//
// It stands where ../../dataplane/lcore stands in the product: it receives, settles, carries packets between lcores
// and keeps their buffers, each ending with its frame so that AddressSanitizer sees one byte too far.
// Every frame that leaves is checked against the one that came in (check_output), and the ledger of
// dataplane/pipeline/counters.h after every step (faults()).
#pragma once

#include <deque>
#include <list>
#include <memory>

#include "dataplane/pipeline/process_burst.h"
#include "dataplane/pipeline/watch.h"
#include "tests/traces/model.h"

namespace sluice::trace {

struct Input {
  Bytes frame;
  std::uint16_t port = 0;
};

struct Output {
  Bytes frame;
  std::uint16_t port = 0;
  Verdict verdict = Verdict::undecided;  // undecided: made by the balancer
  bool is_spliced = false;
};

// What became of one input, from lcore to lcore: {handoff, forward}.
using Fate = std::vector<Verdict>;

class Bed {
 public:
  static Result<std::unique_ptr<Bed>> create(const Model& model);
  ~Bed();

  // The model's new content becomes the lcores' snapshot.
  Result<void> publish(const Model& model);
  // The process dies and another one adopts the records.
  void restart();

  // At most burst_count_max inputs, one burst on one lcore, and all that follows from it on others.
  std::vector<Fate> receive(std::uint32_t lcore, std::span<const Input> inputs);
  Fate receive(std::uint32_t lcore, const Input& input) { return receive(lcore, std::span(&input, 1)).front(); }
  void advance(std::uint64_t ms);  // in steps of at most 25 ms, maintain() in each
  void leap(std::uint64_t ms);     // in one step: lcores that slept
  void announce_all();
  void leave(bool is_leaving);  // a graceful shutdown begins, or is called off

  // Every packet that matches from now on is noted; what was noted since the last call, of all lcores.
  Result<void> watch(std::string_view filter, std::uint16_t snap_bytes = 0);
  struct Seen {
    WatchEntry entry;
    Bytes received, sent;
  };
  std::vector<Seen> take_seen();

  std::deque<Output> outputs;  // what left and nobody has looked at
  // What was found wrong since the last call: outputs, ledger, flows. Empty when all is well.
  std::vector<std::string> take_faults();

  std::uint64_t total(Verdict verdict) const;
  std::uint64_t flow_count() const;
  VipCounters& vip_counters(std::uint32_t lcore, std::uint32_t id) { return worlds_[lcore]->counters.vips[id]; }
  EndpointCounters& endpoint_counters(std::uint32_t lcore, std::uint32_t id) {
    return worlds_[lcore]->counters.endpoints[id];
  }
  World& world(std::uint32_t lcore) { return *worlds_[lcore]; }
  SharedLimits& shared_limits() { return *shared_limits_; }
  std::uint32_t lcore_count() const { return static_cast<std::uint32_t>(worlds_.size()); }
  const Model& model() const { return model_; }
  const Snapshot& tables() const { return *tables_; }

  MacAddress port_mac(std::uint16_t port) const;
  // Where `port` sends and receives: itself, or the parent of a sub-interface.
  std::uint16_t wire_of(std::uint16_t port) const;
  // The hardware address of a host on a link, made up unless a trace has told another.
  MacAddress mac_of(IpAddress address) const;
  void set_mac(IpAddress address, MacAddress mac) { macs_[address.text()] = mac; }
  std::uint16_t port_for(IpAddress source) const;  // by which a packet of this source comes in

  void check_flows();  // unique, sealed, found by both keys, counted: advance() does it unless told not to
  bool checks_flows_often = true;
  bool checks_outputs = true;   // false: only the ledger, and frames of our own. For floods, whose packets are alike
  // Where a flow begins with a fragment, its lcore may be another than its client's (pipeline/fragments.cc), which opens one
  // too: the same client then has two. False: nobody may.
  bool lcores_may_share_clients = false;
  // ARP and ND frames may move a host: then it has what an lcore has learned, too. False: it has mac_of().
  bool neighbors_may_move = false;
  bool teaches_sources = true;  // the next hops of what comes in are known; false: they are asked for

 private:
  static constexpr std::size_t headroom_bytes = 128;  // as an mbuf has
  static constexpr MacAddress kernel_mac{{0x02, 0, 0, 0, 0, 0xee}};
  static Bytes with_headroom(const Bytes& frame);

  struct Buffer {
    Bytes bytes;     // headroom and frame
    Bytes original;  // the frame as it came, without its VLAN tag
    std::uint16_t port = 0;  // whose frame it is: the sub-interface, of one with a tag
    std::size_t begin = headroom_bytes;  // of the frame, in `bytes`
    std::uint8_t hops = 0;
    bool is_resumed = false;
    bool is_spliced = false;
    std::size_t fate = 0;  // index into fates_; none for copies
    bool has_fate = false;
  };
  explicit Bed(const Model& model) : model_(model) {}

  void make_worlds(bool is_restart);
  void step(std::uint64_t ms);
  void run(std::uint32_t lcore, std::vector<std::unique_ptr<Buffer>> buffers);
  void settle(World& world, Burst& burst);
  void drain_rings();
  bool resume_fragments(std::uint32_t lcore);
  void emit(Output output, const Buffer* from);
  std::unique_ptr<Buffer> received(const Input& input) const;
  void take_tag_off(Output& output);
  void check_output(const Output& output, const Buffer* from);
  void check_exchange(const Output& output, const Buffer& from);
  void check_exchanged_fragment(const Output& output, const Buffer& from);
  void check_fragment(const Output& output, const Buffer& from);
  void check_reassembled(const Output& output, const Buffer* from);
  void check_spliced(const Output& output, const Buffer& from);
  void check_tunnel(const Output& output, const Buffer& from);
  void check_cut_tunnel(const Output& output, const Buffer* from);
  void check_tunnel_error(const Output& output, const Buffer& from);
  void check_direct_hop(const Output& output);
  void check_ledger();
  void check_limited();
  void teach(IpAddress address);
  std::optional<Model::Hop> hop_to(IpAddress destination);  // the model's, remembered
  bool goes_to(const PacketText& text, const Model::Hop& hop) const;
  void teach_neighbors(std::span<const Input> inputs);
  bool answer_for_network(const Output& output);  // true: it was a question, and the ideal network has answered
  void fault(std::string text) { faults_.push_back(std::move(text)); }

  Model model_;
  std::vector<std::unique_ptr<SnapshotBuffer>> buffers_of_tables_;
  std::unique_ptr<Snapshot> tables_;
  std::vector<std::vector<FlowRecord>> records_;  // by lcore; outlive the worlds
  std::vector<std::vector<SpliceRecord>> splices_;
  std::vector<std::vector<NamedClient>> named_clients_;
  std::unique_ptr<SharedLimits> shared_limits_;
  std::vector<std::unique_ptr<World>> worlds_;
  std::vector<std::unique_ptr<Watch>> watches_;
  std::vector<std::deque<std::unique_ptr<Buffer>>> rings_;
  std::list<std::unique_ptr<Buffer>> held_;
  std::vector<Fate> fates_;
  Reassembly taken_apart_, reassembly_;  // of what came and left in fragments
  Reassembly tunnels_;                   // of outer packets that left in fragments, and what each carries
  std::map<std::string, Buffer> cut_;
  bool is_all_offered_right_ = true;     // every datagram that came
  std::map<std::string, MacAddress> macs_;
  std::map<IpAddress, std::optional<Model::Hop>> hops_;
  std::deque<Output> questions_;
  Instant now_{1'000'000};
  std::uint64_t sent_ = 0;
  std::vector<std::string> faults_;
};

}  // namespace sluice::trace
