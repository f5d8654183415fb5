#include "dataplane/pipeline/watch.h"

#include "dataplane/base/assert.h"
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/world.h"

namespace sluice {
namespace {

constexpr std::string_view stage_names[] = {"arrival",   "parse",   "find_flow", "classify", "limit_packets", "peek",
                                            "open_flow", "rewrite", "next_hop",  "settle"};

std::string_view port_name(const World& world, std::uint16_t port) {
  if (port == exception_port) return "kernel";
  const auto ports = world.tables->ports();
  return port < ports.size() ? world.tables->name(ports[port].name) : std::string_view();
}

bool leaves(Verdict verdict) {
  return is_sent(verdict) || verdict == Verdict::hold || verdict == Verdict::punt;
}

bool has_addresses(const ParsedFrame& frame) {
  return frame.kind != FrameKind::other && frame.kind != FrameKind::arp;
}

void note_server_name(std::span<const std::byte> first_bytes, EntryServerName& name) {
  if (first_bytes.empty()) return;
  ClientHello hello;
  parse_client_hello(first_bytes, hello);
  if (hello.status == HelloStatus::complete) name.set(hello.server_name());
}

}  // namespace

std::string_view name_of(Stage stage) {
  return stage_names[static_cast<std::size_t>(stage)];
}

Watch::Watch(std::vector<WatchJob> jobs) : jobs_(std::move(jobs)), ring_(ring_bytes) {
  LB_ASSERT(jobs_.size() <= jobs_max);
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    left_[i] = jobs_[i].count_max;
    snap_max_ = std::max<std::size_t>(snap_max_, jobs_[i].snap_bytes);
  }
  copies_ = std::make_unique<std::byte[]>(2 * snap_max_ * burst_count_max);
}

void Watch::arrived(const Burst& burst) {
  for (std::size_t i = 0; i < burst.count; ++i) {
    const Packet& packet = burst.packets[i];
    Note& note = notes_[i];
    note = Note{};
    note.received_bytes = packet.bytes;
    if (!packet.is_live()) note.decided_in = Stage::arrival;
    std::memcpy(received_of(i), packet.data, std::min<std::size_t>(packet.bytes, snap_max_));
  }
}

void Watch::passed(Stage stage, Burst& burst) {
  for (std::size_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    Note& note = notes_[i];
    const bool may_be_hello = stage == Stage::classify && packet.is_live() && packet.vip != nullptr &&
                              packet.vip->is_peeking != 0 && packet.frame.kind == FrameKind::tcp;
    if (may_be_hello) note_server_name(tcp_payload(packet), note.server_name);
    if (!note.has_flow && packet.flow != nullptr) {
      note.has_flow = true;
      note.flow_from = stage;
    }
    if (note.decided_in == Stage::settle && !packet.is_live()) note.decided_in = stage;
  }
}

void Watch::processed(Burst& burst) {
  for (std::size_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    Note& note = notes_[i];
    note.verdict = packet.verdict;
    note.sent_bytes = packet.bytes;
    if (!leaves(packet.verdict)) continue;
    std::memcpy(sent_of(i), packet.data, std::min<std::size_t>(packet.bytes, snap_max_));
    ParsedFrame frame;
    parse_frame(packet.span(), frame);
    note.has_after = has_addresses(frame);
    note.after_kind = frame.kind;
    note.after = frame.key;
    note.next_mac = packet.at<EthernetHeader>(0).destination;
  }
}

void Watch::ended(const World& world, Burst& burst) {
  for (std::size_t i = 0; i < burst.count; ++i) {
    const Packet& packet = burst.packets[i];
    WatchEntry entry;
    fill(world, packet, notes_[i], entry);
    offer(entry, received_of(i), sent_of(i));
  }
}

void Watch::fill(const World& world, const Packet& packet, const Note& note, WatchEntry& entry) {
  entry.received_bytes = note.received_bytes;
  entry.was_received = true;
  entry.time_ns = time_ns;
  entry.lcore = static_cast<std::uint8_t>(world.lcore);
  entry.hops = packet.hops;
  entry.verdict = packet.verdict;
  entry.decided_in = packet.verdict == note.verdict ? note.decided_in : Stage::settle;
  entry.kind = packet.frame.kind;
  entry.direction = packet.direction;
  entry.tcp_flags = packet.frame.tcp_flags;
  entry.ttl = packet.frame.ttl;
  entry.has_before = has_addresses(packet.frame);
  entry.before = packet.frame.key;
  entry.port_in.set(port_name(world, packet.port));
  if (leaves(packet.verdict)) {
    entry.sent_bytes = note.sent_bytes;
    entry.has_after = note.has_after;
    entry.after_kind = note.after_kind;
    entry.after = note.after;
    entry.next_mac = note.next_mac;
    entry.port_out.set(
        port_name(world, packet.verdict == Verdict::punt ? exception_port : packet.tx_port));
  }
  const VipRow* vip = packet.vip;
  if (packet.flow != nullptr) {
    const FlowRecord& flow = *packet.flow;
    entry.has_flow = true;
    entry.is_flow_new = note.flow_from == Stage::open_flow;
    entry.flow_state = flow.state;
    entry.from_client = arriving_key(flow, Direction::to_endpoint);
    entry.from_endpoint = arriving_key(flow, Direction::to_client);
    if (const auto named = world.splices.named_client_of(flow)) {
      entry.has_named = true;
      entry.named = key_of(*named, flow);
    }
    if (vip == nullptr) vip = world.tables->vip_by_id(flow.vip_id);
    if (const EndpointRow* endpoint = world.tables->endpoint_by_id(flow.endpoint_id)) {
      entry.endpoint.set(world.tables->name(endpoint->name));
    }
  }
  entry.server_name = note.server_name;
  if (packet.flow == nullptr && vip != nullptr && note.decided_in == Stage::peek) fill_pending(world, packet, entry);
  if (vip != nullptr && entry.virtual_host.view().empty()) {
    entry.vip.set(world.tables->name(vip->name));
    entry.virtual_host.set(world.tables->name(vip->virtual_host));
  }
}

// What the client's first bytes have led to, if to anything yet.
void Watch::fill_pending(const World& world, const Packet& packet, WatchEntry& entry) {
  const PendingSplice* pending = world.pending.find(packet.frame.key, packet.hash);
  if (pending == nullptr || pending->flow == 0) return;
  if (entry.server_name.view().empty() && packet.vip->is_peeking != 0) {  // it came in several segments
    note_server_name(world.pending.held(*pending), entry.server_name);
  }
  const FlowRecord& flow = world.flows.at(pending->flow - 1);
  const VipRow* vip = world.tables->vip_by_id(flow.vip_id);
  const EndpointRow* endpoint = world.tables->endpoint_by_id(flow.endpoint_id);
  if (vip == nullptr || endpoint == nullptr) return;
  entry.has_called = true;
  entry.vip.set(world.tables->name(vip->name));
  entry.virtual_host.set(world.tables->name(vip->virtual_host));
  entry.endpoint.set(world.tables->name(endpoint->name));
}

void Watch::left(const World& world, std::span<const std::byte> frame, std::uint16_t tx_port,
                 Verdict verdict) {
  ParsedFrame parsed;
  parse_frame(frame, parsed);
  WatchEntry entry;
  entry.time_ns = time_ns;
  entry.lcore = static_cast<std::uint8_t>(world.lcore);
  entry.verdict = verdict;
  entry.kind = parsed.kind;
  entry.tcp_flags = parsed.tcp_flags;
  entry.ttl = parsed.ttl;
  entry.sent_bytes = static_cast<std::uint16_t>(frame.size());
  entry.has_after = has_addresses(parsed);
  entry.after_kind = parsed.kind;
  entry.after = parsed.key;
  if (frame.size() >= sizeof(EthernetHeader))
    std::memcpy(&entry.next_mac, frame.data(), sizeof entry.next_mac);
  entry.port_out.set(port_name(world, tx_port));
  offer(entry, nullptr, frame.data());
}

void Watch::offer(WatchEntry& entry, const std::byte* received, const std::byte* sent) {
  PacketFacts facts;
  facts.before = entry.has_before ? &entry.before : nullptr;
  facts.after = entry.has_after ? &entry.after : nullptr;
  facts.named = entry.has_named ? &entry.named : nullptr;
  facts.kind = entry.kind;
  facts.vip = entry.vip.view();
  facts.virtual_host = entry.virtual_host.view();
  facts.endpoint = entry.endpoint.view();
  facts.port_in = entry.port_in.view();
  facts.port_out = entry.port_out.view();
  facts.verdict = entry.verdict;
  if (entry.has_flow) facts.state = entry.flow_state;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    const WatchJob& job = jobs_[i];
    if (left_[i] == 0 || !job.filter.matches(facts)) continue;
    entry.job = job.id;
    const auto snapped = [&](bool is_wanted, std::uint16_t bytes) {
      return is_wanted ? std::min(bytes, job.snap_bytes) : std::uint16_t{0};
    };
    entry.received_snapped =
        snapped(job.wants_received && received != nullptr, entry.received_bytes);
    entry.sent_snapped = snapped(job.wants_sent && entry.sent_bytes > 0, entry.sent_bytes);
    const auto room = ring_.reserve(sizeof entry + entry.received_snapped + entry.sent_snapped);
    if (room.empty()) {
      lost_[i].add(1);
      continue;
    }
    --left_[i];
    std::memcpy(room.data(), &entry, sizeof entry);
    std::byte* bytes = room.data() + sizeof entry;
    if (entry.received_snapped > 0) std::memcpy(bytes, received, entry.received_snapped);
    if (entry.sent_snapped > 0)
      std::memcpy(bytes + entry.received_snapped, sent, entry.sent_snapped);
    ring_.commit();
  }
}

}  // namespace sluice
