// libFuzzer: a snapshot with other bytes in it is refused with a reason, or can be used: looked up in, and forwarded by.
//
// An input edits the snapshot of scene.h, row by row, and then seals it with a CRC that fits: nothing but verify() stands
// between such rows and the lcores. A first byte of 255: the rest is the snapshot, as it is.
#include <cstring>
#include <list>

#include "dataplane/base/crc32c.h"
#include "dataplane/pipeline/process_burst.h"
#include "tests/fuzz/scene.h"
#include "tests/traces/hello_text.h"

namespace {

using namespace sluice;
using fuzz::require;

void seal(SnapshotBuffer& buffer) {
  auto& header = *reinterpret_cast<SnapshotHeader*>(buffer.bytes().data());
  header.crc = 0;
  header.crc = crc32c(std::span<const std::byte>(buffer.bytes()).subspan(sizeof header), crc32c(std::as_bytes(std::span(&header, 1))));
}

SnapshotBuffer edited(const SnapshotBuffer& whole, fuzz::Script script) {
  std::size_t bytes = whole.bytes().size();
  SnapshotBuffer buffer(bytes);
  std::memcpy(buffer.bytes().data(), whole.bytes().data(), bytes);
  const auto entries = reinterpret_cast<SectionEntry*>(buffer.bytes().data() + sizeof(SnapshotHeader));
  const auto whole_entries = reinterpret_cast<const SectionEntry*>(whole.bytes().data() + sizeof(SnapshotHeader));
  constexpr auto section_count = static_cast<std::uint8_t>(Section::count);
  for (int edits = 0; !script.is_over() && edits < 16; ++edits) {
    const std::uint8_t what = script.byte(), section = what % 32;
    const unsigned width = 1u << (what >> 5 & 1) << (what >> 6 & 1);
    if (section < section_count) {
      const SectionEntry& entry = whole_entries[section];
      if (entry.row_count == 0) continue;
      const std::uint64_t row = script.word(2) % entry.row_count, at = script.byte() % entry.row_bytes;
      const std::uint32_t value = script.word(width);
      const std::uint64_t place = entry.offset + row * entry.row_bytes + at;
      std::memcpy(buffer.bytes().data() + place, &value, std::min<std::uint64_t>(width, entry.row_bytes - at));
    } else if (section == section_count) {  // the table of sections
      auto* table = reinterpret_cast<std::byte*>(entries);
      const std::size_t at = script.word(2) % (section_count * sizeof(SectionEntry) - 4);
      const std::uint32_t value = script.word(width);
      std::memcpy(table + at, &value, width);
    } else {
      bytes = std::min<std::size_t>(bytes, script.word(3));
    }
  }
  SnapshotBuffer cut(bytes);
  std::copy_n(buffer.bytes().begin(), bytes, cut.bytes().begin());
  if (bytes >= sizeof(SnapshotHeader)) {
    reinterpret_cast<SnapshotHeader*>(cut.bytes().data())->total_bytes = bytes;
    seal(cut);
  }
  return cut;
}

// Everything that anybody may ask of it.
void look_up(const Snapshot& tables) {
  std::uint64_t sum = tables.local_addresses().size();
  static const ClientHello hello = [] {
    ClientHello parsed;
    parse_client_hello(trace::build_hello({.name = "x.b.example", .alpn = {"h2"}}), parsed);
    return parsed;
  }();
  for (const VipRow& vip : tables.vips()) {
    sum += tables.vip_text(vip).size() + tables.name(vip.name).size() + tables.name(vip.virtual_host).size();
    sum += tables.covers(vip, vip.address, vip.port) + tables.clusters()[vip.cluster].endpoint_count;
    sum += tables.trusts(vip, vip.address);
    if (vip.is_peeking != 0) sum += tables.find_by_hello(vip, hello, 0) != nullptr;
    if (const VipLimitsRow* limits = tables.limits_of(vip); limits != nullptr && limits->sources != no_row) {
      sum += tables.prefix_table(tables.prefix_tables()[limits->sources]).value_of(vip.address);
    }
  }
  for (const ClusterRow& cluster : tables.clusters()) {
    sum += tables.name(cluster.name).size();
    for (const std::uint16_t slot : tables.slots_of(cluster)) sum += tables.endpoints_of(cluster)[slot].id;
  }
  for (const EndpointRow& endpoint : tables.endpoints()) {
    sum += tables.name(endpoint.name).size() + tables.port_of(endpoint, be16(80)).host();
    sum += tables.is_return_source(endpoint.address, endpoint.port, endpoint.protocol) + tables.is_blocked(endpoint.address);
    if (const RouteRow* route = tables.find_route(endpoint.address)) sum += route->port;
  }
  const std::byte server_id[] = {std::byte{0xa1}, std::byte{0xb2}};
  for (std::uint32_t i = 0; i < tables.clusters().size(); ++i) sum += tables.find_quic_server(i, server_id) != nullptr;
  for (const PortRow& port : tables.ports()) sum += tables.name(port.name).size() + tables.name(port.device).size();
  asm volatile("" : : "r"(sum));  // computed, whether anybody wants it or not
}

// Packets of all kinds, and some seconds.
void forward(const Snapshot& tables, const std::vector<trace::Input>& frames, const trace::Bed& bed) {
  std::vector<FlowRecord> records(32);
  std::vector<SpliceRecord> splices(8);
  SharedLimits shared_limits(HashSecret{3, 4});
  World world(Conntrack(records, {1, 2}), 0, tables.node().worker_count, shared_limits);
  world.splices = Splices(splices);
  world.tables = &tables;
  world.now = world.swept = world.neighbors_checked = world.pending_checked = Instant{1'000'000};
  for (std::uint16_t port = 0; port < tables.ports().size(); ++port) {
    const PortRow& row = tables.ports()[port];
    world.ports[port] = {bed.port_mac(0), row.mtu, row.vlan, row.is_sub_interface() ? row.parent : port, true};
  }
  world.has_exception_port = true;
  world.ports[exception_port] = {exception_gateway_mac, 1'500, 0, exception_port, true};
  adopt_snapshot(world);
  const auto teach = [&](IpAddress address) {
    const RouteRow* route = tables.find_route(address);
    if (route == nullptr || route->port == exception_port) return;
    const IpAddress hop = route->next_hop.is_unset() ? address : route->next_hop;
    if (world.neighbors.find_or_add(hop, route->port, world.now) != no_neighbor) world.neighbors.learn(hop, route->port, bed.mac_of(hop), world.now);
  };
  for (std::size_t i = 0; i < std::min<std::size_t>(tables.endpoints().size(), 64); ++i) teach(tables.endpoints()[i].address);
  for (const char* far : {"203.0.113.1", "2001:db8::1", "10.3.0.50"}) teach(*IpAddress::parse(far));

  std::list<trace::Bytes> buffers;  // what is held stays there until the end
  std::size_t next = 0;
  while (next < frames.size()) {
    Burst burst;
    for (; next < frames.size() && burst.count < 8; ++next) {
      constexpr std::size_t headroom = 128;
      trace::Bytes& bytes = buffers.emplace_back(headroom + frames[next].frame.size());
      std::copy(frames[next].frame.begin(), frames[next].frame.end(), bytes.begin() + headroom);
      Packet& packet = burst.add();
      packet.data = bytes.data() + headroom;
      packet.bytes = static_cast<std::uint16_t>(frames[next].frame.size());
      packet.headroom = headroom;
      packet.port = frames[next].port;
      packet.handle = &bytes;
      if (packet.port != exception_port && packet.port >= tables.ports().size()) packet.port = exception_port;
    }
    process_burst(world, burst);
    maintain(world);
    for (const Packet& packet : burst.all()) require(packet.verdict != Verdict::undecided, "a packet without a verdict");
    count_verdicts(world, burst);
    world.released.clear();
    world.generated.clear();
    world.now.ms += 700;
  }
  std::size_t cursor = 0;
  const auto addresses = tables.local_addresses();
  for (int i = 0; i < 8 && !announce(world, cursor, addresses); ++i) world.generated.clear();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const trace::Model model = [] {
    trace::Model one = fuzz::scene();
    for (const char* line : {"block 198.51.100.0/24", "block 2001:db8:bad::/48", "vip 10.9.0.12:80/tcp { cluster web; deny 192.0.2.0/25; rate new 100; rate source_packets 50; flows_max 7; }"}) {
      const auto changed = one.change(trace::words_of(line));
      require(changed.has_value(), line);
    }
    return one;
  }();
  static const auto bed = std::move(*trace::Bed::create(model));
  static const SnapshotBuffer whole = std::move(*model.compile());
  static const auto frames = fuzz::sample_frames(*bed);
  if (bytes == 0) return 0;
  const auto as_is = [&] {
    SnapshotBuffer buffer(bytes - 1);
    std::transform(data + 1, data + bytes, buffer.bytes().begin(), [](std::uint8_t byte) { return static_cast<std::byte>(byte); });
    return buffer;
  };
  const SnapshotBuffer buffer = data[0] == 255 ? as_is() : edited(whole, fuzz::Script({data, bytes}));
  const auto tables = Snapshot::verify(buffer.bytes());
  if (!tables) {
    require(tables.error().message.starts_with("snapshot: "), tables.error().message);
    return 0;
  }
  look_up(*tables);
  forward(*tables, frames, *bed);
  return 0;
}
