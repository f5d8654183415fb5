// From a client's SYN to the moment when we know where it wants to go. The whole walk is told in splice.h.
#include "dataplane/net/client_hello.h"
#include "dataplane/net/proxy_protocol.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/splice.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

// TLS alert, fatal, unrecognized_name (RFC 8446 6.2, RFC 6066 3).
constexpr std::byte unknown_name_alert[] = {std::byte{21}, std::byte{3}, std::byte{1}, std::byte{0},
                                            std::byte{2},  std::byte{2}, std::byte{112}};

// What a client may send us in one segment, without the options.
std::uint16_t offered_mss(const World& world, const Packet& packet) {
  // What an IPv4 client sends is longer where it becomes IPv6.
  const std::uint16_t headers = packet.frame.key.source.is_v4() && packet.vip->may_lead_to_v6 == 0 ? 40 : 60;
  const auto fitting = static_cast<std::uint16_t>(world.mtu_min - headers);
  return packet.vip->mss_max != 0 ? std::min(fitting, packet.vip->mss_max) : fitting;
}

// No state, no look at any: this is what a flood of SYNs meets.
void answer_with_cookie(World& world, Packet& packet) {
  const VipRow& vip = *packet.vip;
  if (world.is_leaving) {
    packet.verdict = Verdict::drop_leaving;
    return;
  }
  if (!world.tables->trusts(vip, packet.frame.key.source)) return reject(packet, Verdict::reject_proxy_untrusted);
  const bool may_any_answer = vip.is_peeking != 0 || world.tables->clusters()[vip.cluster].slot_count > 0;
  if (vip.state == VipState::pending) {
    packet.verdict = Verdict::drop_vip_pending;
    return;
  }
  if (!may_any_answer) return reject(packet, Verdict::reject_no_endpoint);
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const std::uint32_t client_isn = tcp.sequence.host();
  const TcpOffer asked = read_offer(tcp_header(packet).subspan(sizeof tcp));
  TcpOffer offer = asked;
  if (offer.mss != 0) offer.mss = offered_mss(world, packet);
  offer.window_scale = our_window_scale;
  offer.timestamp_echo = asked.timestamp;
  offer.timestamp = timestamp_now(world);
  std::array<std::byte, tcp_options_bytes_max> options;
  const std::size_t option_bytes = write_offer(offer, options);
  OwnSegment segment;
  segment.sequence = make_cookie(world.cookie_secret, packet.frame.key, client_isn, asked, world.now);
  segment.acknowledgment = client_isn + 1;
  segment.flags = tcp_flag::syn | tcp_flag::ack;
  segment.window = greeting_window_bytes;
  segment.options = std::span(options).first(option_bytes);
  answer(packet, segment, Verdict::reply);
  world.counters.splice.cookie_sent.add(1);
  world.counters.cookies[vip.id].sent.add(1);
}

// Whether a segment whose cookie does not fit its number belongs to a client's first flight, of which the handshake's last ACK and
// the first bytes were lost or come later. Its cookie fits a number that is some segments before: of its own length, or, when it is
// the last and shorter, full ones.
bool is_ahead_of_the_first(const World& world, Packet& packet, std::uint32_t client_isn, std::uint32_t cookie) {
  constexpr std::uint32_t flight_segments = 10;  // RFC 6928
  const auto bytes = static_cast<std::uint32_t>(tcp_payload(packet).size());
  if (bytes == 0) return false;
  const bool has_timestamps = read_offer(tcp_header(packet).subspan(sizeof(TcpHeader))).has_timestamps;
  const std::uint32_t full = offered_mss(world, packet) - (has_timestamps ? timestamps_bytes : 0u);
  for (const std::uint32_t step : {bytes, full}) {
    for (std::uint32_t before = 1; before < flight_segments; ++before) {
      if (open_cookie(world.cookie_secret, packet.frame.key, client_isn - before * step, cookie, world.now)) return true;
    }
  }
  return false;
}

// The client's ACK brings the cookie back. nullptr: the packet is decided.
PendingSplice* accept_cookie(World& world, Packet& packet) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  const std::uint32_t client_isn = tcp.sequence.host() - 1, cookie = tcp.acknowledgment.host() - 1;
  const auto offer = open_cookie(world.cookie_secret, packet.frame.key, client_isn, cookie, world.now);
  if (!offer) {
    if (is_handed_to_next(world, packet)) return nullptr;
    if (is_ahead_of_the_first(world, packet, client_isn, cookie)) {
      packet.verdict = Verdict::drop_tcp_out_of_window;  // a reset would end what its repetition begins
    } else {
      reject(packet, Verdict::reject_cookie_invalid);
    }
    return nullptr;
  }
  if (!world.tables->trusts(*packet.vip, packet.frame.key.source)) {  // any more
    reject(packet, Verdict::reject_proxy_untrusted);
    return nullptr;
  }
  PendingSplice* pending = world.pending.open(packet.frame.key, packet.hash);
  if (pending == nullptr) {
    packet.verdict = Verdict::drop_pending_full;
    return nullptr;
  }
  pending->client_isn = client_isn;
  pending->cookie = cookie;
  pending->client_offer = *offer;
  pending->client_offer.has_timestamps = read_offer(tcp_header(packet).subspan(sizeof tcp)).has_timestamps;
  pending->vip_id = packet.vip->id;
  pending->due = world.now.stamp() + packet.vip->hello_timeout_ms;
  world.counters.splice.cookie_accepted.add(1);
  world.counters.cookies[packet.vip->id].accepted.add(1);
  return pending;
}

// So that the client goes on sending.
void acknowledge_prefix(World& world, Packet& packet, const PendingSplice& pending) {
  const auto prefix = static_cast<std::uint32_t>(world.pending.held(pending).size());
  std::array<std::byte, timestamps_bytes> options;
  write_timestamps(options, timestamp_now(world), pending.client_offer.timestamp);
  OwnSegment segment;
  segment.sequence = pending.cookie + 1;
  segment.acknowledgment = pending.client_isn + 1 + prefix;
  segment.flags = tcp_flag::ack;
  const std::uint32_t window = greeting_window_bytes - prefix;
  // Rounded up: what was promised once stays so (RFC 9293 3.8.6), and the last bytes of 16 KiB find room.
  const std::uint32_t scaled = (window + (1u << our_window_scale) - 1) >> our_window_scale;
  segment.window = static_cast<std::uint16_t>(pending.client_offer.has_window_scale ? scaled : window);
  if (pending.client_offer.has_timestamps) segment.options = options;
  answer(packet, segment, Verdict::reply);
}

void refuse(World& world, Packet& packet, PendingSplice& pending, Verdict verdict) {
  world.pending.close(pending);
  reject(packet, verdict);
}

// The alert that tells a TLS client why, and behind it the reset.
void refuse_name(World& world, Packet& packet, PendingSplice& pending) {
  const auto received = static_cast<std::uint32_t>(world.pending.held(pending).size());
  std::array<std::byte, timestamps_bytes> options;
  write_timestamps(options, timestamp_now(world), pending.client_offer.timestamp);
  OwnSegment alert;
  alert.sequence = pending.cookie + 1;
  alert.acknowledgment = pending.client_isn + 1 + received;
  alert.flags = tcp_flag::ack | tcp_flag::psh;
  if (pending.client_offer.has_timestamps) alert.options = options;
  alert.payload = unknown_name_alert;
  OwnSegment reset = alert;
  reset.sequence += sizeof unknown_name_alert;
  reset.flags = tcp_flag::rst | tcp_flag::ack;
  reset.options = reset.payload = {};
  send_to_client(world, pending, reset);  // leaves after this burst's packets
  answer(packet, alert, Verdict::reject_name_unknown);
  world.pending.close(pending);
}

void call(World& world, Packet& packet, PendingSplice& pending, const VipRow& vip) {
  const Verdict verdict = call_endpoint(world, pending, vip);
  if (is_reject(verdict)) return refuse(world, packet, pending, verdict);
  // Whatever else keeps us from calling may be over when the client sends again.
  packet.verdict = verdict == Verdict::undecided ? Verdict::absorb : verdict;
  // A PROXY header with nothing behind it: no endpoint will acknowledge it.
  const bool is_header_alone = pending.header_bytes != 0 && world.pending.held(pending).empty();
  if (verdict == Verdict::undecided && is_header_alone) acknowledge_prefix(world, packet, pending);
}

// What a proxy before us says of its client, in front of that client's own bytes. Once it is whole, the connection is the
// client's and begins behind it: the endpoint is called with the number that follows, so that no number needs a change.
// False: the packet is decided.
bool take_proxy_header(World& world, Packet& packet, PendingSplice& pending) {
  const ProxyHeader header = read_proxy_header(world.pending.held(pending));
  const auto refused = [&](Verdict verdict) {
    refuse(world, packet, pending, verdict);
    return false;
  };
  switch (header.status) {
    case ProxyHeaderStatus::need_more: {
      if ((packet.frame.tcp_flags & tcp_flag::fin) != 0) return refused(Verdict::reject_hello_incomplete);
      acknowledge_prefix(world, packet, pending);
      return false;
    }
    case ProxyHeaderStatus::not_proxy: return refused(Verdict::reject_not_proxy);
    case ProxyHeaderStatus::malformed: return refused(Verdict::reject_proxy_malformed);
    case ProxyHeaderStatus::checksum_wrong: return refused(Verdict::reject_proxy_checksum_wrong);
    case ProxyHeaderStatus::too_long: return refused(Verdict::reject_proxy_too_long);
    case ProxyHeaderStatus::complete: break;
  }
  if (header.from_client) pending.origin = *header.from_client;
  pending.header_bytes = header.bytes;
  pending.client_isn += header.bytes;
  world.pending.drop_front(pending, header.bytes);
  world.counters.splice.proxy_header.add(1);
  return true;
}

void look_into_hello(World& world, Packet& packet, PendingSplice& pending) {
  ClientHello hello;
  parse_client_hello(world.pending.held(pending), hello);
  switch (hello.status) {
    case HelloStatus::need_more: break;
    case HelloStatus::not_tls: return refuse(world, packet, pending, Verdict::reject_not_tls);
    case HelloStatus::malformed: return refuse(world, packet, pending, Verdict::reject_hello_malformed);
    case HelloStatus::too_long: return refuse(world, packet, pending, Verdict::reject_hello_too_long);
    case HelloStatus::complete: {
      const VipRow* vip = world.tables->find_by_hello(*packet.vip, hello, world.lcore);
      if (vip == nullptr) return refuse_name(world, packet, pending);
      return call(world, packet, pending, *vip);
    }
  }
  if ((packet.frame.tcp_flags & tcp_flag::fin) != 0) return refuse(world, packet, pending, Verdict::reject_hello_incomplete);
  acknowledge_prefix(world, packet, pending);
}

// A segment of a client that has shaken hands, and of which we do not know enough yet.
void listen_to(World& world, Packet& packet, PendingSplice& pending) {
  hear_client(pending, packet);
  auto payload = tcp_payload(packet);
  std::uint32_t offset = packet.at<TcpHeader>(packet.frame.l4_offset).sequence.host() - (pending.client_isn + 1);
  // A keepalive (RFC 9293 3.8.4), or the PROXY header once more.
  const std::uint32_t old_bytes = 0 - offset;
  const bool is_repeat = old_bytes != 0 && old_bytes <= std::max<std::uint32_t>(pending.header_bytes, 1);
  if (is_repeat) {
    payload = payload.subspan(std::min<std::size_t>(old_bytes, payload.size()));
    offset = 0;
  }
  if (offset > held_bytes_max) {
    packet.verdict = Verdict::drop_tcp_out_of_window;
    return;
  }
  if (!payload.empty() && !is_tcp_checksum_right(packet)) {
    packet.verdict = Verdict::drop_tcp_checksum_wrong;
    return;
  }
  switch (world.pending.store(pending, offset, payload)) {
    case StoreResult::stored: break;
    case StoreResult::too_many_pieces: packet.verdict = Verdict::drop_hello_in_pieces; return;
    case StoreResult::no_memory: packet.verdict = Verdict::drop_hello_memory_full; return;
  }
  const bool is_over = (packet.frame.tcp_flags & tcp_flag::fin) != 0;
  const bool is_silent = payload.empty() && !is_repeat && !is_over;
  const bool is_header_awaited = packet.vip->proxies != 0 && pending.header_bytes == 0;
  if (is_silent && (packet.vip->is_peeking != 0 || is_header_awaited)) {
    packet.verdict = Verdict::absorb;
    return;
  }
  if (is_header_awaited && !take_proxy_header(world, packet, pending)) return;
  if (packet.vip->is_peeking == 0) return call(world, packet, pending, *packet.vip);
  look_into_hello(world, packet, pending);
}

void end_pending(World& world, Packet& packet, PendingSplice& pending) {
  const std::uint32_t offset = packet.at<TcpHeader>(packet.frame.l4_offset).sequence.host() - (pending.client_isn + 1);
  if (offset > held_bytes_max) {
    packet.verdict = Verdict::drop_tcp_out_of_window;
    return;
  }
  world.pending.close(pending);
  packet.verdict = Verdict::absorb;
}

void peek_one(World& world, Packet& packet) {
  const std::uint8_t flags = packet.frame.tcp_flags;
  if ((flags & (tcp_flag::syn | tcp_flag::ack)) == tcp_flag::syn) return answer_with_cookie(world, packet);
  PendingSplice* pending = world.pending.find(packet.frame.key, packet.hash);
  if (pending != nullptr && pending->flow != 0) {  // an earlier packet of this burst has called the endpoint
    packet.flow = &flow_of(world, *pending);
    packet.direction = Direction::to_endpoint;
    return;
  }
  if ((flags & (tcp_flag::rst | tcp_flag::syn)) != 0) {
    if (pending != nullptr && (flags & tcp_flag::rst) != 0) return end_pending(world, packet, *pending);
    if (!is_handed_to_next(world, packet)) packet.verdict = Verdict::drop_no_flow;
    return;
  }
  const std::uint32_t acknowledged = packet.at<TcpHeader>(packet.frame.l4_offset).acknowledgment.host();
  if (pending != nullptr && acknowledged != pending->cookie + 1) {  // the same five-tuple, begun anew?
    const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
    if (!open_cookie(world.cookie_secret, packet.frame.key, tcp.sequence.host() - 1, acknowledged - 1, world.now)) {
      packet.verdict = Verdict::drop_tcp_out_of_window;
      return;
    }
    world.pending.close(*pending);
    pending = nullptr;
  }
  if (pending == nullptr) pending = accept_cookie(world, packet);
  if (pending != nullptr) listen_to(world, packet, *pending);
}

}  // namespace

std::span<std::byte> tcp_payload(Packet& packet) {
  const unsigned header_bytes = packet.at<TcpHeader>(packet.frame.l4_offset).header_bytes();
  return {packet.data + packet.frame.l4_offset + header_bytes, packet.frame.l4_bytes - header_bytes};
}

bool is_tcp_checksum_right(Packet& packet) {
  const FlowKey& key = packet.frame.key;
  return checksum_of(packet.span().subspan(packet.frame.l4_offset, packet.frame.l4_bytes),
                     pseudo_header_sum(key.source, key.destination, protocol::tcp, packet.frame.l4_bytes)) == 0;
}

void hear_client(PendingSplice& pending, Packet& packet) {
  const auto& tcp = packet.at<TcpHeader>(packet.frame.l4_offset);
  pending.client_mac = packet.at<EthernetHeader>(0).source;
  pending.client_port = packet.port;
  pending.client_window = static_cast<std::uint32_t>(tcp.window.host()) << pending.client_offer.window_scale;
  if (!pending.client_offer.has_timestamps) return;
  const TcpOffer heard = read_offer(tcp_header(packet).subspan(sizeof tcp));
  if (heard.has_timestamps) pending.client_offer.timestamp = heard.timestamp;
}

void peek(World& world, Burst& burst) {
  for_each_live(burst, [&](Packet& packet) {
    const bool is_tcp = packet.frame.kind == FrameKind::tcp;
    if (packet.vip != nullptr && is_tcp && is_peeked(world, *packet.vip, packet.frame.tcp_flags)) peek_one(world, packet);
  });
}

}  // namespace sluice
