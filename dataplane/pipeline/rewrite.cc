#include "dataplane/flow/tcp_state.h"
#include "dataplane/net/mss_clamp.h"
#include "dataplane/pipeline/families.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// ~(~checksum + delta), RFC 1624 equation 3. `delta` need not be folded.
std::uint16_t updated(std::uint16_t checksum, std::uint64_t delta) {
  return static_cast<std::uint16_t>(~fold_checksum(delta + static_cast<std::uint16_t>(~checksum)));
}

template <Direction direction>
constexpr std::size_t leaving_side = direction == Direction::to_endpoint ? 1 : 0;

template <Direction direction>
void rewrite_v4(Packet& packet, const FlowRecord& flow, std::uint16_t l3_delta) {
  auto& ip = packet.at<Ipv4Header>(packet.frame.l3_offset);
  const SideAddresses& leaving = flow.v4[leaving_side<direction>];
  ip.source = leaving.local;
  ip.destination = leaving.remote;
  --ip.ttl;
  ip.checksum = updated(ip.checksum, l3_delta + ttl_delta);
}

void rewrite_v6(Packet& packet, const SideView& leaving) {
  auto& ip = packet.at<Ipv6Header>(packet.frame.l3_offset);
  std::memcpy(ip.source, leaving.local, sizeof ip.source);
  std::memcpy(ip.destination, leaving.remote, sizeof ip.destination);
  --ip.hop_limit;
}

// `l4_delta`: of all that is changed in the transport's header and its pseudo header, not folded.
template <Direction direction>
void rewrite_ports(Packet& packet, const FlowRecord& flow, std::uint64_t l4_delta) {
  const SidePorts& leaving = flow.ports[leaving_side<direction>];
  if (packet.frame.kind == FrameKind::tcp) {
    auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
    tcp.source_port = leaving.local;
    tcp.destination_port = leaving.remote;
    tcp.checksum = updated(tcp.checksum, l4_delta);
    return;
  }
  auto& udp = packet.at<UdpHeader>(packet.frame.l4_offset);
  udp.source_port = leaving.local;
  udp.destination_port = leaving.remote;
  if (udp.checksum == 0) return;  // none was sent, which IPv4 allows (RFC 768)
  const std::uint16_t checksum = updated(udp.checksum, l4_delta);
  udp.checksum = checksum == 0 ? 0xffff : checksum;
}

template <Direction direction>
void count_packet(World& world, const Packet& packet, const FlowRecord& flow) {
  constexpr bool is_to_endpoint = direction == Direction::to_endpoint;
  VipCounters& vip = world.counters.vips[flow.vip_id];
  EndpointCounters& endpoint = world.counters.endpoints[flow.endpoint_id];
  (is_to_endpoint ? vip.rx_packets : vip.tx_packets).add(1);
  (is_to_endpoint ? vip.rx_bytes : vip.tx_bytes).add(packet.bytes);
  (is_to_endpoint ? endpoint.to_packets : endpoint.from_packets).add(1);
  (is_to_endpoint ? endpoint.to_bytes : endpoint.from_bytes).add(packet.bytes);
}

void note_sequence(Packet& packet, FlowRecord& flow) {
  if (packet.frame.kind != FrameKind::tcp || flow.state != FlowState::established) return;
  if ((flow.flags & flow_flag::is_spliced) != 0) [[unlikely]] return;  // splice_join.cc has
  flow.sent_to_client = packet.at<TcpHeader>(packet.frame.l4_offset).sequence;
}

// To the other family: an IPv4 client's addresses are in the record's first line, all others are those of a wide side.
template <Direction direction>
void exchange_header(World& world, Packet& packet, const FlowRecord& flow) {
  const auto id = [&] { return static_cast<std::uint16_t>(++world.fragment_id); };
  if (direction == Direction::to_client && (flow.flags & flow_flag::client_is_v6) == 0) {
    return exchange_header_for_v4(packet, flow.v4[0].local, flow.v4[0].remote, id());
  }
  const SideView leaving = world.flows.wide_side(flow, leaving_side<direction>);
  if (leaving.remote->is_v4()) return exchange_header_for_v4(packet, leaving.local->as_v4(), leaving.remote->as_v4(), id());
  exchange_header_for_v6(packet, *leaving.local, *leaving.remote);
}

// `spliced`: what splice_packet() has changed.
template <Direction direction>
void rewrite_one(World& world, Packet& packet, FlowRecord& flow, std::uint64_t spliced) {
  constexpr bool is_to_endpoint = direction == Direction::to_endpoint;
  const auto l3_delta = is_to_endpoint ? flow.l3_delta : static_cast<std::uint16_t>(~flow.l3_delta);
  const auto l4_delta = is_to_endpoint ? flow.l4_delta : static_cast<std::uint16_t>(~flow.l4_delta);
  constexpr std::uint8_t both_v6 = flow_flag::client_is_v6 | flow_flag::endpoint_is_v6;
  const std::uint8_t families = flow.flags & both_v6;
  if constexpr (!is_to_endpoint) note_sequence(packet, flow);
  if (families == 0) [[likely]] {
    rewrite_ports<direction>(packet, flow, spliced + l4_delta);
    rewrite_v4<direction>(packet, flow, l3_delta);
  } else if (families == both_v6) {
    rewrite_ports<direction>(packet, flow, spliced + l4_delta);
    rewrite_v6(packet, world.flows.wide_side(flow, leaving_side<direction>));
  } else {
    const bool is_v4 = packet.frame.key.source.is_v4();
    if (spliced != 0) {  // whose packet does not fit is quoted it, with the checksum of its numbers
      auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
      tcp.checksum = updated(tcp.checksum, spliced);
    }
    if (!fits_other_family(world, packet, flow, is_v4)) return;
    rewrite_ports<direction>(packet, flow, l4_delta);
    if (packet.is_fragment) [[unlikely]] {
      count_packet<direction>(world, packet, flow);  // before what does not fit is cut off
      return exchange_fragment(world, packet, flow, leaving_key(flow, direction));
    }
    exchange_header<direction>(world, packet, flow);
  }
  count_packet<direction>(world, packet, flow);
}

// Whether the NIC brought it where the SNAT port was to bring it: steering is judged by this.
void note_first_reply(World& world, const Packet& packet, const FlowRecord& flow) {
  if ((flow.flags & flow_flag::is_snat) == 0 || packet.port >= ports_max) return;
  if (world.replies->is_by_hash()) {  // not for all pools
    const FlowKey& reply = packet.frame.key;
    const OwnAddress local = world.tables->find_address(reply.destination);
    if (local.kind != AddressKind::snat) return;
    const SnatPoolRow& pool = world.tables->snat_pools()[local.index];
    if (world.replies->hash_for(pool, reply.destination.is_v4(), reply.protocol) == nullptr) return;
  }
  (packet.hops == 0 ? world.counters.first_replies : world.counters.first_replies_handed)[packet.port].add(1);
}

// A segment that may change the state of its flow. False: it was an answer to our question, and for us alone.
[[gnu::noinline]] bool track_change(World& world, Packet& packet, FlowRecord& flow) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const bool is_spliced = (flow.flags & flow_flag::is_spliced) != 0;
  const bool is_fin = (packet.frame.tcp_flags & tcp_flag::fin) != 0, is_reset = (packet.frame.tcp_flags & tcp_flag::rst) != 0;
  TcpSegment segment;
  segment.flags = packet.frame.tcp_flags;
  segment.direction = packet.direction;
  segment.sequence = tcp.sequence.host();
  segment.end = segment.sequence + packet.frame.l4_bytes - tcp.header_bytes() + is_fin;
  segment.acknowledgment = tcp.acknowledgment.host();
  std::uint32_t delta = 0;  // between the endpoint's numbers and the client's
  if (is_spliced) [[unlikely]] {
    // The segment speaks as its receiver wants it; here all numbers are the client's.
    delta = world.splices[flow.splice_slot].sequence_delta;
    if (packet.direction == Direction::to_endpoint) segment.acknowledgment += delta;
  }
  if (is_reset && flow.state == FlowState::doubted && packet.direction != to_who_knows(flow)) {
    segment.is_proof = segment.sequence - delta == proof_of_reset(world, flow);
  }
  const FlowState before = flow.state;
  const bool is_to_be_asked =
      change_tcp_state(flow, is_spliced ? world.splices[flow.splice_slot].fin_end : flow.fin_end, segment);
  if (is_to_be_asked && !ask_whether_reset(world, flow)) flow.state = before;  // the next RST asks
  if (segment.is_proof) packet.verdict = Verdict::absorb;
  return !segment.is_proof;
}

// A TCP segment before the connection is established.
Verdict shake_hands(World& world, Packet& packet, FlowRecord& flow) {
  auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const bool is_syn = (packet.frame.tcp_flags & tcp_flag::syn) != 0;
  if (packet.direction == Direction::to_endpoint) {
    const std::uint32_t sequence = tcp.sequence.host();
    if (!is_plausible_from_client(flow, packet.frame.tcp_flags, sequence)) return Verdict::drop_tcp_out_of_window;
    if (is_syn) flow.client_isn = sequence;  // a client that tries again may begin elsewhere
  }
  if (is_syn && packet.direction == Direction::to_client) note_first_reply(world, packet, flow);
  const VipRow* vip = is_syn ? world.tables->vip_by_id(flow.vip_id) : nullptr;
  if (vip != nullptr && vip->mss_max != 0) {
    clamp_mss(packet.span().subspan(packet.frame.l4_offset, tcp.header_bytes()), vip->mss_max);
  }
  const bool was_half_open = is_half_open(flow);
  track_change(world, packet, flow);
  if (was_half_open && !is_half_open(flow)) world.counters.vips[flow.vip_id].half_open.subtract(1);
  return Verdict::undecided;
}

// What the packet says about its flow. False: it has its verdict.
bool track(World& world, Packet& packet, FlowRecord& flow) {
  if (packet.frame.kind != FrameKind::tcp) {
    track_udp(flow, packet.direction);
  } else if (flow.state < FlowState::established) [[unlikely]] {
    packet.verdict = shake_hands(world, packet, flow);
    if (!packet.is_live()) return false;
  } else if (!changes_nothing(flow, packet.frame.tcp_flags)) [[unlikely]] {
    flow.last_seen = world.now.stamp();
    return track_change(world, packet, flow);
  }
  flow.last_seen = world.now.stamp();
  return true;
}

// Direct server return.
void forward_direct(World& world, Packet& packet, FlowRecord& flow) {
  if (!track(world, packet, flow) || !fits_direct(world, packet, flow)) return;
  count_packet<Direction::to_endpoint>(world, packet, flow);
  send_direct(world, packet, flow);
}

void tell_the_end(World& world, Packet& packet, FlowRecord& flow) {
  const bool is_reset = (packet.frame.tcp_flags & tcp_flag::rst) != 0;
  if (is_reset && is_one_sided(flow)) {
    // The endpoint still speaks, to a client that is told of the end: its reset ends the endpoint's half.
    if (packet.frame.ttl > 1 && fits_direct(world, packet, flow)) return send_direct(world, packet, flow);
    if (packet.is_live()) packet.verdict = Verdict::drop_ttl_expired;
  } else if (is_reset) {
    packet.verdict = Verdict::drop_no_flow;
  } else {
    reject(packet, Verdict::reject_flow_ended);
  }
}

}  // namespace

void rewrite(World& world, Burst& burst) {
  for_each_live(burst, [&](Packet& packet) {
    if (packet.flow == nullptr) return;
    FlowRecord& flow = *packet.flow;
    if (flow.state == FlowState::ended) [[unlikely]] return tell_the_end(world, packet, flow);
    if (packet.frame.ttl <= 1) [[unlikely]] return refuse_ttl(world, packet);
    std::uint64_t spliced = 0;
    if (!is_rewritten_only(flow)) [[unlikely]] {
      if (is_one_sided(flow)) return forward_direct(world, packet, flow);
      spliced = splice_packet(world, packet, flow);
      if (!packet.is_live()) return;
    }
    if (!track(world, packet, flow)) return;
    if (packet.direction == Direction::to_endpoint) {
      rewrite_one<Direction::to_endpoint>(world, packet, flow, spliced);
    } else {
      rewrite_one<Direction::to_client>(world, packet, flow, spliced);
    }
  });
}

}  // namespace sluice
