// From the choice of an endpoint to the moment when it has all that the client said so far. The whole walk is told in
// splice.h.
#include <atomic>

#include "dataplane/flow/tcp_state.h"
#include "dataplane/net/proxy_protocol.h"
#include "dataplane/pipeline/choose_endpoint.h"
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

constexpr std::uint32_t first_wait_ms = 200;  // doubled each time
constexpr std::uint8_t syns_max = 3;          // silent for 1.4 s: another endpoint is tried
constexpr std::uint32_t unsent_wait_ms = 5;   // a SYN that could not leave: mostly its next hop is being asked for
constexpr std::uint32_t call_max_ms = 1400;
constexpr std::uint8_t deliveries_max = 6;    // 12.6 s
constexpr std::uint8_t endpoint_tries_max = 2;
constexpr std::uint32_t resend_gap_ms = 50;   // a client that repeats itself makes us do so this often at most
constexpr std::uint16_t mss_default = 536;    // RFC 9293 3.7.1
constexpr unsigned choices_max = 8;           // to find an endpoint other than the one that failed

std::uint32_t first_sequence(const PendingSplice& pending) { return pending.client_isn + 1 - pending.proxy_bytes; }
std::uint32_t stream_end(const PendingSplice& pending) { return pending.proxy_bytes + pending.held_end; }

// The client's window as the endpoint is to read it.
std::uint16_t window_for_endpoint(const PendingSplice& pending, bool is_scaled) {
  const std::uint32_t window = is_scaled ? pending.client_window >> pending.client_offer.window_scale : pending.client_window;
  return static_cast<std::uint16_t>(std::min(window, 0xffffu));
}

// Headers of IP and TCP, options not included.
std::uint32_t header_bytes_toward(const FlowRecord& flow) { return (flow.flags & flow_flag::endpoint_is_v6) != 0 ? 60 : 40; }

void send_syn(World& world, PendingSplice& pending, const FlowRecord& flow) {
  TcpOffer offer = pending.client_offer;
  if (pending.mss_max != 0) offer.mss = std::min(offer.mss, pending.mss_max);
  offer.mss = std::min(offer.mss, static_cast<std::uint16_t>(world.mtu_min - header_bytes_toward(flow)));
  // Timestamps that the endpoint does not have will be put into its segments: leave room for them.
  const bool will_grow = offer.has_timestamps && world.lacks_timestamps[flow.endpoint_id];
  if (will_grow) offer.mss = static_cast<std::uint16_t>(offer.mss - timestamps_bytes);
  offer.timestamp_echo = 0;
  std::array<std::byte, tcp_options_bytes_max> options;
  const std::size_t option_bytes = write_offer(offer, options);
  OwnSegment segment;
  segment.sequence = first_sequence(pending) - 1;
  segment.flags = tcp_flag::syn;
  segment.window = window_for_endpoint(pending, false);
  segment.options = std::span(options).first(option_bytes);
  const bool is_sent = send_to_endpoint(world, flow, segment);
  pending.due = world.now.stamp() + (is_sent ? first_wait_ms << pending.sent_count : unsent_wait_ms);
  if (is_sent) ++pending.sent_count;
}

// What the endpoint has not acknowledged yet, from `first` on, as far as its window goes.
void deliver_from(World& world, PendingSplice& pending, const FlowRecord& flow, std::uint32_t first) {
  std::array<std::byte, proxy_header_bytes_max> header;
  write_proxy_header(pending.proxy_protocol, pending.origin, header);
  std::array<std::byte, timestamps_bytes> options;
  write_timestamps(options, pending.client_offer.timestamp, pending.endpoint_offer.timestamp);
  const bool has_timestamps = pending.endpoint_offer.has_timestamps;
  const std::uint32_t mss = pending.endpoint_offer.mss == 0 ? mss_default : pending.endpoint_offer.mss;
  const std::uint32_t step = std::min<std::uint32_t>(mss, world.mtu_min - header_bytes_toward(flow)) - (has_timestamps ? timestamps_bytes : 0);
  const std::uint32_t window = std::max(pending.endpoint_window, 1u);  // a closed one is probed
  const std::uint32_t end = std::min(stream_end(pending), pending.acknowledged + window);
  const auto held = world.pending.held(pending);
  while (first < end) {
    const std::uint32_t next = std::min(end, first + step);
    OwnSegment segment;
    segment.sequence = first_sequence(pending) + first;
    segment.acknowledgment = pending.endpoint_isn + 1;
    segment.flags = tcp_flag::ack | tcp_flag::psh;
    segment.window = window_for_endpoint(pending, pending.endpoint_offer.has_window_scale);
    if (has_timestamps) segment.options = options;
    const std::uint32_t header_end = std::min<std::uint32_t>(next, pending.proxy_bytes);
    if (first < header_end) segment.payload = std::span(header).subspan(first, header_end - first);
    const std::uint32_t tail_first = std::max<std::uint32_t>(first, pending.proxy_bytes);
    if (tail_first < next) segment.tail = held.subspan(tail_first - pending.proxy_bytes, next - tail_first);
    if (!send_to_endpoint(world, flow, segment)) break;  // the timer tries again
    first = next;
  }
  pending.sent_end = std::max(pending.sent_end, first);
  pending.sent_stamp = world.now.stamp();
}

// The endpoint's number space and abilities, from its SYN-ACK.
void learn_endpoint(World& world, PendingSplice& pending, SpliceRecord& splice, const TcpHeader& tcp, const TcpOffer& offer) {
  pending.endpoint_isn = tcp.sequence.host();
  pending.endpoint_offer = offer;
  pending.endpoint_window = tcp.window.host();
  const TcpOffer& client = pending.client_offer;
  splice.sequence_delta = pending.cookie - pending.endpoint_isn;
  splice.client_timestamp = client.timestamp;
  splice.flags = 0;
  if (client.has_timestamps && !offer.has_timestamps) splice.flags |= splice_flag::lends_timestamps;
  if (client.has_timestamps && offer.has_timestamps) splice.timestamp_delta = timestamp_now(world) - offer.timestamp;
  if (client.has_sack && !offer.has_sack) splice.flags |= splice_flag::removes_sack;
  if (client.has_window_scale) {
    splice.shift_to_client = static_cast<std::int8_t>((offer.has_window_scale ? offer.window_scale : 0) - our_window_scale);
    splice.shift_to_endpoint = static_cast<std::int8_t>(offer.has_window_scale ? 0 : client.window_scale);
  }
}

// Only what we offered counts.
TcpOffer agreed(TcpOffer offer, const TcpOffer& client) {
  offer.has_sack = offer.has_sack && client.has_sack;
  offer.has_timestamps = offer.has_timestamps && client.has_timestamps;
  offer.has_window_scale = offer.has_window_scale && client.has_window_scale;
  return offer;
}

void join(World& world, PendingSplice& pending, FlowRecord& flow, SpliceRecord& splice) {
  flow.state = FlowState::established;
  flow.last_seen = world.now.stamp();
  splice.pending = 0;
  std::atomic_signal_fence(std::memory_order_release);  // from here on another process may take the flow over
  splice.check = seal_of(splice, flow.check);
  world.pending.close(pending);
  world.counters.splice.joined.add(1);
}

void reset_endpoint(World& world, const PendingSplice& pending, const FlowRecord& flow) {
  OwnSegment reset;
  reset.sequence = first_sequence(pending) + pending.acknowledged;
  reset.acknowledgment = pending.endpoint_isn + 1;
  reset.flags = pending.stage == PendingStage::delivering ? tcp_flag::rst | tcp_flag::ack : tcp_flag::rst;
  send_to_endpoint(world, flow, reset);
}

void reset_client(World& world, const PendingSplice& pending) {
  OwnSegment reset;
  reset.sequence = pending.cookie + 1;
  reset.acknowledgment = pending.client_isn + 1 + static_cast<std::uint32_t>(world.pending.held(pending).size());
  reset.flags = tcp_flag::rst | tcp_flag::ack;
  send_to_client(world, pending, reset);
}

// The flow ends as one whose sides are told with a reset whenever they speak again.
void end_flow(World& world, PendingSplice& pending) {
  FlowRecord& flow = flow_of(world, pending);
  world.splices[flow.splice_slot].pending = 0;
  mark_ended(world, flow);
}

void give_up(World& world, PendingSplice& pending) {
  reset_client(world, pending);
  if (pending.flow != 0) {
    reset_endpoint(world, pending, flow_of(world, pending));
    end_flow(world, pending);
  }
  world.pending.close(pending);
}

// It is taken (stages.h).
const EndpointRow* choose(World& world, const PendingSplice& pending, const ClusterRow& cluster) {
  FlowKey key = pending.origin;
  for (unsigned tries = 0; tries < choices_max; ++tries) {
    const EndpointRow& endpoint = world.tables->endpoints_of(cluster)[choose_endpoint(world, cluster, key)];
    const bool has_failed = pending.endpoint_tries != 0 && endpoint.id == pending.failed_endpoint_id;
    if (!has_failed) return take_endpoint_of(world, cluster, endpoint, pending.hash);
    key.source_port.raw = static_cast<std::uint16_t>(key.source_port.raw + 0x9e37);  // another place in the table
  }
  return nullptr;
}

// `endpoint` is taken; it is left when it is not called.
Verdict call_this_endpoint(World& world, PendingSplice& pending, const VipRow& vip, const EndpointRow& endpoint) {
  FlowOpening opening;
  opening.from_client = pending.from_client;
  opening.state = FlowState::opening;
  opening.is_spliced = true;
  const std::uint32_t slot = world.splices.open();
  if (slot == no_splice) {
    leave_endpoint(world, endpoint.id);
    return Verdict::drop_splices_full;
  }
  opening.client_isn = slot;
  FlowRecord* flow = nullptr;
  const Verdict verdict = open_toward(world, vip, endpoint, opening, pending.hash, flow);
  if (verdict != Verdict::undecided) {
    world.splices.close(slot);
    return verdict == Verdict::drop_connection_limit ? Verdict::reject_connection_limit : verdict;
  }
  SpliceRecord& splice = world.splices[slot];
  splice.client_isn = pending.client_isn;
  splice.pending = world.pending.number_of(pending);
  const bool is_named = pending.header_bytes != 0 && pending.origin != pending.from_client;
  if (is_named) world.splices.name_client(*flow, pending.origin.source, pending.origin.source_port);
  std::array<std::byte, proxy_header_bytes_max> header;
  pending.proxy_protocol = world.tables->clusters()[endpoint.cluster].proxy_protocol;
  pending.proxy_bytes = static_cast<std::uint8_t>(write_proxy_header(pending.proxy_protocol, pending.origin, header));
  pending.stage = PendingStage::calling;
  pending.flow = world.flows.index_of(*flow) + 1;
  pending.vip_id = vip.id;
  pending.mss_max = vip.mss_max;
  pending.sent_count = 0;
  pending.sent_stamp = world.now.stamp();  // until it answers: when it was first called
  pending.acknowledged = pending.sent_end = 0;
  ++pending.endpoint_tries;
  world.counters.splice.called.add(1);
  send_syn(world, pending, *flow);
  return Verdict::undecided;
}

// The endpoint does not take the connection. Another one may, once; `is_same` calls this one again. At a limit, another lcore
// may take the place in between: then it ends as when nobody takes it.
void call_again(World& world, PendingSplice& pending, bool is_same) {
  FlowRecord& flow = flow_of(world, pending);
  const EndpointRow* endpoint = world.tables->endpoint_by_id(flow.endpoint_id);
  const VipRow* vip = world.tables->vip_by_id(pending.vip_id);
  if (endpoint == nullptr || vip == nullptr) return give_up(world, pending);
  pending.failed_endpoint_id = flow.endpoint_id;
  reset_endpoint(world, pending, flow);
  world.splices[flow.splice_slot].pending = 0;
  close_flow(world, flow);
  pending.flow = 0;
  if (is_same) {
    if (!take_endpoint(world, *endpoint)) endpoint = nullptr;
  } else {
    const ClusterRow& cluster = world.tables->clusters()[vip->cluster];
    const bool may_try = pending.endpoint_tries < endpoint_tries_max && cluster.slot_count > 0;
    endpoint = may_try ? choose(world, pending, cluster) : nullptr;
  }
  const bool is_called = endpoint != nullptr && call_this_endpoint(world, pending, *vip, *endpoint) == Verdict::undecided;
  if (!is_called) give_up(world, pending);
}

// Answers a SYN-ACK with the acknowledgment that it waits for. In place.
void acknowledge_syn(Packet& packet) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const TcpOffer offer = read_offer(tcp_header(packet).subspan(sizeof tcp));
  std::array<std::byte, timestamps_bytes> options;
  write_timestamps(options, offer.timestamp_echo, offer.timestamp);
  OwnSegment segment;
  segment.sequence = tcp.acknowledgment.host();
  segment.acknowledgment = tcp.sequence.host() + 1;
  segment.flags = tcp_flag::ack;
  segment.window = static_cast<std::uint16_t>(greeting_window_bytes >> our_window_scale);
  if (offer.has_timestamps) segment.options = options;
  answer(packet, segment, Verdict::reply);
}

void hear_syn_ack(World& world, Packet& packet, PendingSplice& pending, FlowRecord& flow, SpliceRecord& splice) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const TcpOffer offer = agreed(read_offer(tcp_header(packet).subspan(sizeof tcp)), pending.client_offer);
  const bool is_timestamp_missed = pending.client_offer.has_timestamps && !offer.has_timestamps;
  const bool was_known = world.lacks_timestamps[flow.endpoint_id];
  if (pending.client_offer.has_timestamps) world.lacks_timestamps[flow.endpoint_id] = is_timestamp_missed;
  if (is_timestamp_missed && !was_known) {  // its segments will grow here: once more, with a smaller MSS
    --pending.endpoint_tries;
    packet.verdict = Verdict::absorb;
    packet.flow = nullptr;
    call_again(world, pending, true);
    return;
  }
  learn_endpoint(world, pending, splice, tcp, offer);
  flow.state = FlowState::answered;
  pending.stage = PendingStage::delivering;
  pending.sent_count = 1;
  pending.due = world.now.stamp() + first_wait_ms;
  pending.held_end = static_cast<std::uint32_t>(world.pending.held(pending).size());
  if (stream_end(pending) == 0) {
    acknowledge_syn(packet);
    return join(world, pending, flow, splice);
  }
  deliver_from(world, pending, flow, 0);
  packet.verdict = Verdict::absorb;
}

void hear_called(World& world, Packet& packet, PendingSplice& pending, FlowRecord& flow, SpliceRecord& splice) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const bool is_answer = (tcp.flags & tcp_flag::ack) != 0 && tcp.acknowledgment.host() == first_sequence(pending);
  if (is_answer && (tcp.flags & tcp_flag::syn) != 0) return hear_syn_ack(world, packet, pending, flow, splice);
  if (is_answer && (tcp.flags & tcp_flag::rst) != 0) {
    world.counters.splice.endpoint_refused.add(1);
    packet.verdict = Verdict::absorb;
    packet.flow = nullptr;
    return call_again(world, pending, false);
  }
  packet.verdict = Verdict::drop_tcp_out_of_window;
}

// Acknowledgments below the client's first byte are of our PROXY header: the client must not see them.
void clamp_acknowledgment(TcpHeader& tcp, const PendingSplice& pending) {
  const std::uint32_t before = tcp.acknowledgment.host(), least = pending.client_isn + 1;
  if (static_cast<std::int32_t>(before - least) >= 0) return;
  const Be32 old = tcp.acknowledgment, now = be32(least);
  tcp.checksum = ChecksumDelta()
                     .change(static_cast<std::uint16_t>(old.raw), static_cast<std::uint16_t>(now.raw))
                     .change(static_cast<std::uint16_t>(old.raw >> 16), static_cast<std::uint16_t>(now.raw >> 16))
                     .apply_to(tcp.checksum);
  tcp.acknowledgment = now;
}

// `undecided`: the packet goes on to the client.
void hear_delivered(World& world, Packet& packet, PendingSplice& pending, FlowRecord& flow, SpliceRecord& splice) {
  auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  if ((tcp.flags & tcp_flag::rst) != 0) {
    if (pending.has_heard_data || pending.endpoint_tries >= endpoint_tries_max) return join(world, pending, flow, splice);
    world.counters.splice.endpoint_refused.add(1);
    packet.verdict = Verdict::absorb;
    packet.flow = nullptr;
    return call_again(world, pending, false);
  }
  if ((tcp.flags & tcp_flag::syn) != 0) {  // our acknowledgment was lost
    const bool is_due = world.now.stamp() - pending.sent_stamp >= resend_gap_ms;
    if (is_due) deliver_from(world, pending, flow, pending.acknowledged);
    packet.verdict = Verdict::absorb;
    return;
  }
  const TcpOffer heard = read_offer(tcp_header(packet).subspan(sizeof tcp));
  if (heard.has_timestamps) pending.endpoint_offer.timestamp = heard.timestamp;
  pending.endpoint_window = static_cast<std::uint32_t>(tcp.window.host())
                            << (pending.endpoint_offer.has_window_scale ? pending.endpoint_offer.window_scale : 0);
  const std::uint32_t acknowledged = tcp.acknowledgment.host() - first_sequence(pending);
  const bool is_more = acknowledged > pending.acknowledged && acknowledged <= held_bytes_max + proxy_header_bytes_max;
  const bool is_silent = tcp_payload(packet).empty() && (tcp.flags & tcp_flag::fin) == 0;
  const bool is_for_client = !is_silent || acknowledged > pending.proxy_bytes;
  if (!is_silent) pending.has_heard_data = true;
  if (is_for_client) clamp_acknowledgment(tcp, pending);
  if (!is_for_client) packet.verdict = Verdict::absorb;
  if (is_more) {
    pending.acknowledged = acknowledged;
    pending.sent_count = 1;
    pending.due = world.now.stamp() + first_wait_ms;
  }
  if (pending.acknowledged >= stream_end(pending)) return join(world, pending, flow, splice);
  if (pending.sent_end < stream_end(pending)) deliver_from(world, pending, flow, std::max(pending.sent_end, pending.acknowledged));
}

// `undecided`: the packet goes on to the endpoint.
void hear_waiting_client(World& world, Packet& packet, PendingSplice& pending, FlowRecord& flow) {
  hear_client(pending, packet);
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const auto payload = tcp_payload(packet);
  const std::uint32_t offset = tcp.sequence.host() - (pending.client_isn + 1);
  const bool is_calling = pending.stage == PendingStage::calling;
  if ((tcp.flags & tcp_flag::syn) != 0) {
    packet.verdict = Verdict::drop_tcp_out_of_window;
    return;
  }
  if ((tcp.flags & tcp_flag::rst) != 0) {
    packet.verdict = offset <= held_bytes_max ? Verdict::absorb : Verdict::drop_tcp_out_of_window;
    if (packet.verdict != Verdict::absorb) return;
    reset_endpoint(world, pending, flow);
    end_flow(world, pending);
    return world.pending.close(pending);
  }
  if (is_calling) {
    packet.verdict = Verdict::absorb;
    if (offset > held_bytes_max) return;  // it is not acknowledged, and will come again
    if (!payload.empty() && !is_tcp_checksum_right(packet)) {
      packet.verdict = Verdict::drop_tcp_checksum_wrong;
      return;
    }
    const StoreResult stored = world.pending.store(pending, offset, payload);
    if (stored == StoreResult::no_memory) packet.verdict = Verdict::drop_hello_memory_full;
    if (stored == StoreResult::too_many_pieces) packet.verdict = Verdict::drop_hello_in_pieces;
    return;
  }
  const bool is_of_held = !payload.empty() && static_cast<std::int32_t>(offset - pending.held_end) < 0;
  if (!is_of_held) return;  // to the endpoint, which puts it behind what we deliver
  packet.verdict = Verdict::absorb;  // the endpoint gets our copy
  if (world.now.stamp() - pending.sent_stamp >= resend_gap_ms) deliver_from(world, pending, flow, pending.acknowledged);
}

void hear(World& world, Packet& packet, FlowRecord& flow, SpliceRecord& splice) {
  PendingSplice& pending = world.pending[splice.pending];
  if (packet.direction == Direction::to_endpoint) return hear_waiting_client(world, packet, pending, flow);
  if (pending.stage == PendingStage::calling) return hear_called(world, packet, pending, flow, splice);
  return hear_delivered(world, packet, pending, flow, splice);
}

}  // namespace

// Puts the timestamps into a segment of an endpoint that has none. The headers move forward into the headroom.
void lend_timestamps(World& world, Packet& packet, const SpliceRecord& splice) {
  const auto& before = packet.at<TcpHeader>(packet.frame.l4_offset);
  if ((before.flags & tcp_flag::rst) != 0 || before.header_bytes() + timestamps_bytes > 60 || packet.headroom < timestamps_bytes) {
    return;
  }
  const std::size_t fixed_end = packet.frame.l4_offset + sizeof(TcpHeader);
  std::memmove(packet.data - timestamps_bytes, packet.data, fixed_end);
  packet.data -= timestamps_bytes;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - timestamps_bytes);
  packet.bytes = static_cast<std::uint16_t>(packet.bytes + timestamps_bytes);
  const std::uint16_t old_l4_bytes = packet.frame.l4_bytes;
  packet.frame.l4_bytes = static_cast<std::uint16_t>(old_l4_bytes + timestamps_bytes);

  auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  std::array<std::byte, timestamps_bytes> options;
  write_timestamps(options, timestamp_now(world), splice.client_timestamp);
  std::memcpy(packet.data + fixed_end, options.data(), options.size());
  std::uint16_t words[2];  // data offset and flags, before and after
  std::memcpy(&words[0], &tcp.data_offset, 2);
  tcp.data_offset = static_cast<std::uint8_t>(tcp.data_offset + (timestamps_bytes / 4 << 4));
  std::memcpy(&words[1], &tcp.data_offset, 2);
  tcp.checksum = ChecksumDelta()
                     .change(words[0], words[1])
                     .change(be16(old_l4_bytes).raw, be16(packet.frame.l4_bytes).raw)
                     .change(0, fold_checksum(checksum_sum(options)))
                     .apply_to(tcp.checksum);
  if (packet.frame.key.source.is_v4()) {
    auto& ip = packet.at<Ipv4Header>(packet.frame.l3_offset);
    const Be16 total = be16(static_cast<std::uint16_t>(ip.total_bytes.host() + timestamps_bytes));
    ip.checksum = ChecksumDelta().change(ip.total_bytes.raw, total.raw).apply_to(ip.checksum);
    ip.total_bytes = total;
  } else {
    auto& ip = packet.at<Ipv6Header>(packet.frame.l3_offset);
    ip.payload_bytes = be16(static_cast<std::uint16_t>(ip.payload_bytes.host() + timestamps_bytes));
  }
}

Verdict call_endpoint(World& world, PendingSplice& pending, const VipRow& vip) {
  const ClusterRow& cluster = world.tables->clusters()[vip.cluster];
  if (vip.state == VipState::pending) return Verdict::drop_vip_pending;
  if (cluster.slot_count == 0) return Verdict::reject_no_endpoint;
  const Verdict admitted = admit_by_vip(world, vip, pending.origin.source);
  if (admitted != Verdict::undecided) return admitted;
  if (world.flows.is_full()) return Verdict::drop_flows_full;
  const EndpointRow* endpoint = choose(world, pending, cluster);
  if (endpoint == nullptr && cluster.endpoint_flows_max != 0) return Verdict::reject_connection_limit;
  if (endpoint == nullptr) return Verdict::reject_no_endpoint;
  const bool is_translated = endpoint->address.is_v4() != pending.from_client.source.is_v4();
  // Without SNAT the client has no address of that family to be seen with.
  if (is_translated && cluster.forwarding == Forwarding::nat) {
    leave_endpoint(world, endpoint->id);
    return Verdict::reject_no_endpoint;
  }
  return call_this_endpoint(world, pending, vip, *endpoint);
}

bool attend_to_segment(World& world, Packet& packet, FlowRecord& flow) {
  // Another packet of this burst may have ended the flow, or opened another one in its place.
  if (flow.state == FlowState::unused) [[unlikely]] {
    packet.verdict = Verdict::drop_no_flow;
    packet.flow = nullptr;
    return false;
  }
  SpliceRecord& splice = world.splices[flow.splice_slot];
  if (splice.pending != 0) {
    if (world.flows.arrives_as(flow, packet.direction, packet.frame.key)) {
      hear(world, packet, flow, splice);
    } else {
      packet.verdict = Verdict::drop_no_flow;
    }
  } else if (packet.direction == Direction::to_client && (packet.frame.tcp_flags & tcp_flag::syn) != 0) {
    acknowledge_syn(packet);  // the acknowledgment of an endpoint's SYN was lost
  }
  return packet.is_live();
}

void forget_splice(World& world, FlowRecord& flow) {
  const std::uint32_t pending = world.splices[flow.splice_slot].pending;
  if (pending != 0) world.pending.close(world.pending[pending]);
  world.splices.close(flow.splice_slot);
}

// What is due for one connection on its way.
void attend_to_pending(World& world, PendingSplice& pending) {
  if (pending.flow != 0 && flow_of(world, pending).state == FlowState::ended) {  // its drain deadline has passed
    return give_up(world, pending);
  }
  if (static_cast<std::int32_t>(world.now.stamp() - pending.due) < 0) return;
  if (world.generated.room() < 32) return;  // the next round has more
  switch (pending.stage) {
    case PendingStage::unused: return;
    case PendingStage::greeted:
      world.counters.splice.hello_timeout.add(1);
      return give_up(world, pending);
    case PendingStage::calling:
      if (pending.sent_count < syns_max && world.now.stamp() - pending.sent_stamp < call_max_ms) {
        return send_syn(world, pending, flow_of(world, pending));
      }
      world.counters.splice.endpoint_silent.add(1);
      return call_again(world, pending, false);
    case PendingStage::delivering:
      if (pending.sent_count >= deliveries_max) {
        world.counters.splice.delivery_failed.add(1);
        return give_up(world, pending);
      }
      deliver_from(world, pending, flow_of(world, pending), pending.acknowledged);
      pending.due = world.now.stamp() + (first_wait_ms << pending.sent_count);
      ++pending.sent_count;
      return;
  }
}

}  // namespace sluice
