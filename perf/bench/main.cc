// sluice-bench: cycles per packet of the pipeline beside the bare-work floor, in one process and one run.
#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>

#include "dataplane/base/assert.h"
#include "dataplane/pipeline/process_burst.h"
#include "dataplane/pipeline/stages.h"
#include "dataplane/tables/snapshot_writer.h"
#include "perf/bench/measure.h"
#include "perf/bench/packets.h"

namespace sluice::perf {
namespace {

constexpr std::uint32_t endpoint_count = 100;

struct Setup {
  std::uint32_t flows = 1'000;
  std::uint8_t protocol_number = protocol::tcp;
  bool is_v6 = false;
  Forwarding forwarding = Forwarding::full_nat;
};

SnapshotBuffer make_snapshot(const Setup& setup) {
  SnapshotWriter writer;
  writer.node.worker_count = 1;
  writer.node.flow_capacity = setup.flows + setup.flows / 8 + 1'024;
  writer.node.tcp_opening_ms = writer.node.tcp_closing_ms = 60'000;
  writer.node.tcp_closed_ms = writer.node.tcp_reset_ms = 10'000;
  PortRow port{};
  port.queue_count = 1;
  port.mtu = 1'500;
  port.is_rss_stable = 1;
  writer.add(port);
  const auto parse = [](const char* text) { return *IpAddress::parse(text); };
  AddressRow own{};
  own.address = parse(setup.is_v6 ? "2001:db8:2::1" : "172.16.0.1");
  own.prefix_length = setup.is_v6 ? 64 : 96 + 16;
  writer.add(own);
  RouteRow connected{};
  const IpPrefix network = IpPrefix::of(own.address, own.prefix_length);
  connected.network = network.network;
  connected.prefix_length = network.length;
  writer.add(connected);
  RouteRow gateway{};
  gateway.network = setup.is_v6 ? IpAddress{} : IpAddress::v4(be32(0));
  gateway.prefix_length = setup.is_v6 ? 0 : 96;
  gateway.next_hop = parse(setup.is_v6 ? "2001:db8:2::fe" : "172.16.255.254");
  writer.add(gateway);
  std::vector<IpAddress> snat;
  for (int i = 0; i < 4; ++i) {
    snat.push_back(parse(fmt::format(fmt::runtime(setup.is_v6 ? "2001:db8:2::10{}" : "172.16.200.1{}"), i).c_str()));
  }
  writer.add_snat_pool("pool", snat, 1'024, 65'535);
  std::vector<EndpointRow> endpoints;
  std::vector<std::uint16_t> slots;
  for (std::uint32_t i = 0; i < endpoint_count; ++i) {
    EndpointRow row{};
    row.address = parse(fmt::format(fmt::runtime(setup.is_v6 ? "2001:db8:2::2:{}" : "172.16.1.{}"), i + 1).c_str());
    row.id = i;
    row.port = be16(8'080);
    row.weight = 1;
    row.protocol = setup.protocol_number;
    endpoints.push_back(row);
  }
  for (std::uint32_t i = 0; i < 65'537; ++i) slots.push_back(static_cast<std::uint16_t>(i * 2'654'435'761u % endpoint_count));
  ClusterRow cluster{};
  cluster.forwarding = setup.forwarding;
  cluster.choice = Choice::hash;
  writer.add_cluster(cluster, endpoints, slots);
  VipRow vip{};
  const FlowKey key = key_of(0, setup.protocol_number, setup.is_v6);
  vip.address = key.destination;
  vip.port = key.destination_port;
  vip.protocol = setup.protocol_number;
  vip.idle_timeout_ms = 3'600'000;
  writer.add(vip);
  auto buffer = writer.finish(1);
  if (!buffer) {
    fmt::print(stderr, "{}\n", buffer.error().message);
    std::exit(1);
  }
  return std::move(*buffer);
}

std::span<FlowRecord> map_records(std::size_t count) {
  void* memory = mmap(nullptr, count * sizeof(FlowRecord), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LB_ASSERT(memory != MAP_FAILED);
  madvise(memory, count * sizeof(FlowRecord), MADV_HUGEPAGE);
  return {static_cast<FlowRecord*>(memory), count};
}

// One worker's world with `flows` established flows, and the keys with which their replies arrive.
class Bench {
 public:
  explicit Bench(const Setup& setup)
      : setup_(setup),
        buffer_(make_snapshot(setup)),
        tables_(*Snapshot::verify(buffer_.bytes())),
        records_(map_records(tables_.node().flow_capacity)),
        world_(std::make_unique<World>(Conntrack(records_, {0x1234567887654321, 0x8765432112345678}), 0, 1)),
        frames_(batch_count * 2) {
    world_->tables = &tables_;
    world_->ports[0] = {our_mac, 9'000, true};
    world_->now = {1'000'000};
    world_->swept = world_->now;
    adopt_snapshot(*world_);
    for (const EndpointRow& endpoint : tables_.endpoints()) learn(endpoint.address);
    for (const RouteRow& route : tables_.routes()) {
      if (!route.next_hop.is_unset()) learn(route.next_hop);
    }
    establish();
  }
  ~Bench() { munmap(records_.data(), records_.size_bytes()); }

  // clk per packet over one batch, both directions mixed.
  double established() {
    FlowOrder& order = order_;
    for (std::size_t i = 0; i < batch_count; ++i) {
      const std::uint32_t flow = order.next();
      const bool is_reply = (i & 1) != 0;
      const FlowKey key = is_reply ? reply_key(flow) : key_of(flow, setup_.protocol_number, setup_.is_v6);
      bytes_[i] = write_frame(frame(i), key, tcp_flag::ack);
    }
    std::uint64_t spent = 0;
    for (std::size_t i = 0; i < batch_count; i += burst_count_max) {
      fill(i);
      const std::uint64_t begin = tsc();
      process_burst(*world_, burst_);
      maintain(*world_);
      count_verdicts(*world_, burst_);
      spent += tsc() - begin;
      verify();
    }
    return static_cast<double>(spent) / batch_count;
  }

  // The same, stage by stage: what each costs in clk per packet, the TSC reads included.
  std::vector<std::pair<const char*, double>> stages() {
    static constexpr std::pair<const char*, void (*)(World&, Burst&)> table[] = {
        {"parse", parse},         {"find_flow", [](World& world, Burst& burst) { find_flow(world, burst); }}, {"classify", classify},
        {"open_flow", open_flow}, {"rewrite", rewrite},     {"resolve_next_hop", resolve_next_hop},
        {"maintain", [](World& world, Burst&) { maintain(world); }},
        {"count_verdicts", count_verdicts},
    };
    std::vector<std::pair<const char*, double>> spent;
    for (const auto& [name, stage] : table) spent.emplace_back(name, 0);
    for (int repeat = 0; repeat < 30; ++repeat) {
      for (std::size_t i = 0; i < batch_count; ++i) {
        const std::uint32_t flow = order_.next();
        const FlowKey key = (i & 1) != 0 ? reply_key(flow) : key_of(flow, setup_.protocol_number, setup_.is_v6);
        bytes_[i] = write_frame(frame(i), key, tcp_flag::ack);
      }
      for (std::size_t i = 0; i < batch_count; i += burst_count_max) {
        fill(i);
        for (std::size_t s = 0; s < std::size(table); ++s) {
          const std::uint64_t begin = tsc();
          table[s].second(*world_, burst_);
          spent[s].second += static_cast<double>(tsc() - begin);
        }
      }
    }
    for (auto& [name, clk] : spent) clk /= 30.0 * batch_count;
    return spent;
  }

  std::size_t flow_count() const { return world_->flows.count(); }

  // SYNs of flows that are not there; they are closed again outside of the timed part.
  double opened() {
    std::uint64_t spent = 0;
    constexpr std::size_t count = 512;
    for (std::size_t i = 0; i < count; ++i) {
      bytes_[i] = write_frame(frame(i), key_of(fresh_++, setup_.protocol_number, setup_.is_v6), tcp_flag::syn);
    }
    std::vector<FlowRecord*> opened;
    for (std::size_t i = 0; i < count; i += burst_count_max) {
      fill(i);
      const std::uint64_t begin = tsc();
      process_burst(*world_, burst_);
      maintain(*world_);
      count_verdicts(*world_, burst_);
      spent += tsc() - begin;
      for (const Packet& packet : burst_.all()) {
        if (packet.verdict != Verdict::forward) {
          fmt::print(stderr, "a SYN ended as {}\n", name_of(packet.verdict));
          std::exit(1);
        }
        opened.push_back(packet.flow);
      }
    }
    for (FlowRecord* record : opened) close_flow(*world_, *record);
    return static_cast<double>(spent) / count;
  }

  double refused() {
    std::uint64_t spent = 0;
    for (std::size_t i = 0; i < batch_count; ++i) {
      FlowKey key = key_of(order_.next(), setup_.protocol_number, setup_.is_v6);
      key.destination_port = be16(81);
      bytes_[i] = write_frame(frame(i), key, tcp_flag::syn);
    }
    for (std::size_t i = 0; i < batch_count; i += burst_count_max) {
      fill(i);
      const std::uint64_t begin = tsc();
      process_burst(*world_, burst_);
      maintain(*world_);
      count_verdicts(*world_, burst_);
      spent += tsc() - begin;
      LB_ASSERT(burst_.packets[0].verdict == Verdict::drop_no_vip);
    }
    return static_cast<double>(spent) / batch_count;
  }

 private:
  struct Reply {
    std::uint32_t snat_port_and_address;  // port, then index of the SNAT address
    std::uint16_t endpoint;
  };

  std::byte* frame(std::size_t i) { return frames_[2 * i].bytes; }

  void learn(IpAddress address) {
    world_->neighbors.find_or_add(address, 0, world_->now);
    world_->neighbors.learn(address, 0, client_mac, world_->now);
  }

  void fill(std::size_t first) {
    burst_.count = 0;
    for (std::size_t i = first; i < first + burst_count_max; ++i) {
      Packet& packet = burst_.add();
      packet.data = frame(i);
      packet.bytes = bytes_[i];
    }
  }

  void establish() {
    for (std::uint32_t flow = 0; flow < setup_.flows; ++flow) {
      const FlowKey key = key_of(flow, setup_.protocol_number, setup_.is_v6);
      burst_.count = 0;
      Packet& packet = burst_.add();
      packet.data = frame(0);
      packet.bytes = write_frame(frame(0), key, tcp_flag::syn);
      process_burst(*world_, burst_);
      if (packet.verdict != Verdict::forward) {
        fmt::print(stderr, "flow {}: SYN ended as {}\n", flow, name_of(packet.verdict));
        std::exit(1);
      }
      packet.flow->state = FlowState::established;
      const FlowKey reply = arriving_key(*packet.flow, Direction::to_client);
      const auto snat = tables_.snat_addresses();
      const auto at = static_cast<std::uint32_t>(std::find(snat.begin(), snat.end(), reply.destination) - snat.begin());
      replies_.push_back({at << 16 | reply.destination_port.raw, static_cast<std::uint16_t>(packet.flow->endpoint_id)});
    }
  }

  FlowKey reply_key(std::uint32_t flow) const {
    const Reply& reply = replies_[flow];
    const EndpointRow& endpoint = tables_.endpoints()[reply.endpoint];
    FlowKey key;
    key.source = endpoint.address;
    key.source_port = endpoint.port;
    key.destination_port = Be16{static_cast<std::uint16_t>(reply.snat_port_and_address)};
    key.protocol = setup_.protocol_number;
    if (setup_.forwarding == Forwarding::full_nat) {
      key.destination = tables_.snat_addresses()[reply.snat_port_and_address >> 16];
    } else {
      const FlowKey client = key_of(flow, setup_.protocol_number, setup_.is_v6);
      key.destination = client.source;
      key.destination_port = client.source_port;
    }
    return key;
  }

  void verify() {
    for (Packet& packet : burst_.all()) {
      const bool is_right =
          packet.verdict == Verdict::forward &&
          has_right_checksums(packet.span(), leaving_key(*packet.flow, packet.direction), packet.frame.l3_offset,
                              packet.frame.l4_offset, packet.frame.l4_bytes);
      if (!is_right) {
        fmt::print(stderr, "a packet left broken: verdict {}\n", name_of(packet.verdict));
        std::exit(1);
      }
    }
  }

  Setup setup_;
  SnapshotBuffer buffer_;
  Snapshot tables_;
  std::span<FlowRecord> records_;
  std::unique_ptr<World> world_;
  Burst burst_;
  std::vector<Frame> frames_;
  std::array<std::uint16_t, batch_count> bytes_{};
  std::vector<Reply> replies_;
  FlowOrder order_{setup_.flows};
  std::uint32_t fresh_ = 200'000'000;
};

// The floor: parse, CRC, rte_hash in bulk, one record line, precomputed checksum deltas; nothing else.
class Floor {
 public:
  explicit Floor(std::uint32_t flows) : order_(flows), frames_(batch_count) {
    rte_hash_parameters parameters{};
    const std::string name = fmt::format("floor{}", flows);
    parameters.name = name.c_str();
    parameters.entries = flows + flows / 8 + 64;
    parameters.key_len = sizeof(Key);
    parameters.hash_func = rte_hash_crc;
    hash_ = rte_hash_create(&parameters);
    LB_ASSERT(hash_ != nullptr);
    lines_.resize(parameters.entries);
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
      const Key key = compact(key_of(flow, protocol::tcp, false));
      const std::int32_t at = rte_hash_add_key(hash_, &key);
      LB_ASSERT(at >= 0);
      lines_[static_cast<std::size_t>(at)].l3_delta = static_cast<std::uint16_t>(flow);
    }
  }
  ~Floor() { rte_hash_free(hash_); }

  double established() {
    for (std::size_t i = 0; i < batch_count; ++i) {
      write_frame(buffer(i), key_of(order_.next(), protocol::tcp, false), tcp_flag::ack);
    }
    std::uint64_t spent = 0;
    for (std::size_t first = 0; first < batch_count; first += burst_count_max) {
      const std::uint64_t begin = tsc();
      work(first);
      spent += tsc() - begin;
    }
    return static_cast<double>(spent) / batch_count;
  }

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

  static Key compact(const FlowKey& key) {
    return {key.source.as_v4().raw, key.destination.as_v4().raw, key.source_port.raw, key.destination_port.raw,
            key.protocol};
  }
  std::byte* buffer(std::size_t i) { return frames_[i].data; }

  void work(std::size_t first) {
    Key keys[burst_count_max];
    const void* pointers[burst_count_max];
    hash_sig_t signatures[burst_count_max];
    std::int32_t positions[burst_count_max];
    for (std::size_t i = 0; i < burst_count_max; ++i) {
      const std::byte* frame = buffer(first + i);
      const auto& ip = *reinterpret_cast<const Ipv4Header*>(frame + 14);
      const auto& tcp = *reinterpret_cast<const TcpHeader*>(frame + 34);
      keys[i] = {ip.source.raw, ip.destination.raw, tcp.source_port.raw, tcp.destination_port.raw, ip.protocol};
      signatures[i] = rte_hash_crc(&keys[i], sizeof(Key), 0);
      pointers[i] = &keys[i];
    }
    rte_hash_lookup_with_hash_bulk(hash_, pointers, signatures, burst_count_max, positions);
    for (const std::int32_t at : positions) __builtin_prefetch(&lines_[static_cast<std::size_t>(at)]);
    for (std::size_t i = 0; i < burst_count_max; ++i) {
      LB_ASSERT(positions[i] >= 0);
      Line& line = lines_[static_cast<std::size_t>(positions[i])];
      std::byte* frame = buffer(first + i);
      auto& ip = *reinterpret_cast<Ipv4Header*>(frame + 14);
      auto& tcp = *reinterpret_cast<TcpHeader*>(frame + 34);
      ip.source.raw = line.source;
      ip.destination.raw = line.destination;
      tcp.source_port.raw = line.source_port;
      tcp.destination_port.raw = line.destination_port;
      ip.checksum = ChecksumDelta(line.l3_delta).apply_to(ip.checksum);
      tcp.checksum = ChecksumDelta(line.l4_delta).apply_to(tcp.checksum);
      ++line.packets;
      line.bytes += frame_bytes;
      line.stamp = first;
    }
  }

  struct alignas(64) Buffer {
    std::byte data[128];
  };
  rte_hash* hash_ = nullptr;
  std::vector<Line> lines_;
  FlowOrder order_;
  std::vector<Buffer> frames_;
};

std::string text(const Figure& figure) {
  return fmt::format("{:6.1f} ({:.1f}-{:.1f})", figure.median, figure.min, figure.max);
}

template <class Sample>
Figure steady(Sample sample) {
  for (int i = 0; i < 20; ++i) sample();
  return measure(9, [&] {
    double sum = 0;
    for (int i = 0; i < 30; ++i) sum += sample();
    return sum / 30;
  });
}

void run(std::uint32_t flows_max) {
  fmt::print("TSC {:.1f} MHz; clk per packet, median (min-max)\n", tsc_hz() / 1e6);
  fmt::print("{:>10}  {:>24}  {:>24}  {:>6}\n", "flows", "bare-work floor", "FULL_NAT established", "ratio");
  for (const std::uint32_t flows : {1'000u, 100'000u, 1'000'000u, 10'000'000u}) {
    if (flows > flows_max) break;
    Figure floor_figure, figure;
    {
      Floor floor_work(flows);
      floor_figure = steady([&] { return floor_work.established(); });
    }
    Setup setup;
    setup.flows = flows;
    Bench bench(setup);
    figure = steady([&] { return bench.established(); });
    for (const auto& [name, clk] : bench.stages()) fmt::print("{:>10}    {:<18}{:6.1f}\n", "", name, clk);
    fmt::print("{:>10}  {:>24}  {:>24}  {:>6.2f}\n", flows, text(floor_figure), text(figure),
               figure.median / floor_figure.median);
    if (flows == std::min(flows_max, 1'000'000u)) {
      fmt::print("{:>10}  new flow {}   refused (no VIP) {}\n", "", text(steady([&] { return bench.opened(); })),
                 text(steady([&] { return bench.refused(); })));
    }
  }
  const std::pair<const char*, Setup> modes[] = {
      {"NAT", {1'000, protocol::tcp, false, Forwarding::nat}},
      {"UDP", {1'000, protocol::udp, false, Forwarding::full_nat}},
      {"IPv6", {1'000, protocol::tcp, true, Forwarding::full_nat}},
  };
  for (const auto& [name, setup] : modes) {
    Bench bench(setup);
    fmt::print("{:>10}  {}\n", name, text(steady([&] { return bench.established(); })));
  }
}

}  // namespace
}  // namespace sluice::perf

int main(int argc, char** argv) {
  const char* eal[] = {"sluice-bench", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=*:error", "-m",
                       "6144", "--lcores=0@(0-1)"};
  if (rte_eal_init(std::size(eal), const_cast<char**>(eal)) < 0) return 1;
  sluice::perf::run(argc > 1 ? static_cast<std::uint32_t>(std::atol(argv[1])) : 1'000'000);
  return 0;
}
