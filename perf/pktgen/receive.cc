#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "perf/common/clock.h"
#include "perf/common/frame.h"
#include "perf/pktgen/generator.h"
#include "perf/pktgen/reflect.h"

// What arrives. What is sent is in generator.cc.
namespace sluice::perf {

bool Generator::serve() {
  bool is_busy = receive(ports_.clients);
  if (endpoints_queue_ == &to_endpoints_) {
    is_busy |= receive(to_endpoints_.port);
    flush(to_endpoints_);
  }
  flush(to_clients_);
  return is_busy;
}

bool Generator::receive(std::uint16_t port) {
  std::array<rte_mbuf*, burst_count_max> mbufs;
  const std::uint16_t count = rte_eth_rx_burst(port, 0, mbufs.data(), burst_count_max);
  if (count == 0) return false;
  now_ = tsc();
  if (is_replaying_ && receive_prebuilt({mbufs.data(), count}, port != ports_.clients)) return true;
  std::array<ParsedFrame, burst_count_max> parsed;
  std::array<Reply, burst_count_max> replies;
  for (std::uint16_t i = 0; i < count; ++i) {
    __builtin_prefetch(rte_pktmbuf_mtod(mbufs[i], std::byte*));
  }
  const bool is_at_endpoints =
      ports_.endpoints && port == *ports_.endpoints && port != ports_.clients;
  for (std::uint16_t i = 0; i < count; ++i) {
    rte_mbuf* mbuf = mbufs[i];
    if (mbuf->nb_segs > 1) rte_pktmbuf_linearize(mbuf);  // if not, the parser finds it cut short
    parsed[i] = {};
    parse_frame({rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len}, parsed[i]);
    replies[i] = {};
    if (is_at_endpoints || traffic_.vips.empty()) continue;
    if (const auto tuple = tuples_.tuple_of_reply(parsed[i].key)) {
      replies[i] = {&slots_[tuples_.slot_of(*tuple)], *tuple};
      __builtin_prefetch(replies[i].slot, 1);
    }
  }
  done_count_ = 0;
  for (std::uint16_t i = 0; i < count; ++i)
    handle(mbufs[i], parsed[i], replies[i], is_at_endpoints);
  rte_pktmbuf_free_bulk(done_.data(), done_count_);
  return true;
}

// A burst of IP packets, of either direction. False, and nothing is done, when something else is
// among them.
bool Generator::receive_prebuilt(std::span<rte_mbuf*> mbufs, bool is_at_endpoints) {
  std::uint64_t bytes = 0;
  for (const rte_mbuf* mbuf : mbufs) {
    const Be16 type = rte_pktmbuf_mtod(mbuf, const EthernetHeader*)->type;
    if (type == ether_type::arp) return false;
    bytes += mbuf->pkt_len + fcs_bytes;
  }
  for (rte_mbuf* mbuf : mbufs) {
    if (++looked_at_ % 64 != 0) continue;
    const std::span frame{rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len};
    ParsedFrame parsed;
    parse_frame(frame, parsed);
    if (parsed.fault != ParseFault::none) {
      counts_.add(Count::malformed);
    } else if (!is_right(frame, parsed)) {
      counts_.add(Count::bad_checksum);
    } else if (!is_at_endpoints && tuples_.is_client(parsed.key.destination)) {
      if (!tuples_.tuple_of_reply(parsed.key)) counts_.add(Count::wrong_tuple);
    } else if (traffic_.endpoints &&
               traffic_.endpoints->index_of(parsed.key.destination) >= traffic_.endpoints->count) {
      counts_.add(Count::wrong_endpoint);
    }
  }
  counts_.add(Count::received, mbufs.size());
  counts_.add(Count::answers, mbufs.size());
  counts_.add(Count::received_bytes, bytes);
  rte_pktmbuf_free_bulk(mbufs.data(), static_cast<unsigned>(mbufs.size()));
  return true;
}

// What an endpoint sends, to be sent again by itself.
void Generator::learn(std::span<const std::byte> reply, const std::byte* payload) {
  const std::size_t index = Stamp::read(payload).time;
  if (index >= traffic_.flows) return;
  Template& made = templates_[2 * index + 1];
  std::memcpy(made.bytes.data(), reply.data(), std::min(reply.size(), made.bytes.size()));
  made.frame_bytes = static_cast<std::uint16_t>(reply.size());
}

bool Generator::is_right(std::span<const std::byte> frame, const ParsedFrame& parsed) {
  // The parser has checked that of the IPv4 header.
  if (!traffic_.verifies ||
      has_right_l4_checksum(frame, parsed.key, parsed.l4_offset, parsed.l4_bytes)) {
    return true;
  }
  // UDP over IPv4 may do without one, RFC 768.
  const auto* udp = reinterpret_cast<const UdpHeader*>(frame.data() + parsed.l4_offset);
  return parsed.kind == FrameKind::udp && udp->checksum == 0;
}

void Generator::handle(rte_mbuf* mbuf, const ParsedFrame& parsed, const Reply& reply,
                       bool is_at_endpoints) {
  const std::span<std::byte> frame{rte_pktmbuf_mtod(mbuf, std::byte*), mbuf->data_len};
  const auto drop = [&](Count why) {
    counts_.add(why);
    done_[done_count_++] = mbuf;
  };
  if (parsed.fault != ParseFault::none) {
    return drop(parsed.fault == ParseFault::ip_checksum_wrong    ? Count::bad_checksum
                : parsed.fault == ParseFault::ether_type_unknown ? Count::unexpected
                                                                 : Count::malformed);
  }
  if (parsed.kind != FrameKind::tcp && parsed.kind != FrameKind::udp) {
    TxQueue& queue = is_at_endpoints ? *endpoints_queue_ : to_clients_;
    const MacAddress mac = is_at_endpoints ? ports_.endpoints_mac : ports_.clients_mac;
    NeighborAnswer answer;
    if (answer_neighbor(frame, parsed, mac, vip_addresses_)) {
      counts_.add(Count::neighbor_answers);
      return push(queue, mbuf);
    }
    if (wanted_gateway_ && read_neighbor_answer(frame, parsed, answer) &&
        answer.address == *wanted_gateway_) {
      gateway_mac_ = answer.mac;
      has_gateway_ = true;
      done_[done_count_++] = mbuf;
      return;
    }
    return drop(Count::unexpected);
  }
  const bool is_for_client =
      !is_at_endpoints && !traffic_.vips.empty() && tuples_.is_client(parsed.key.destination);
  if (is_for_client) {
    on_reply(frame, parsed, reply);
    done_[done_count_++] = mbuf;
    return;
  }
  if (!ports_.endpoints) return drop(Count::unexpected);
  if (!is_right(frame, parsed)) return drop(Count::bad_checksum);
  if (traffic_.endpoints &&
      traffic_.endpoints->index_of(parsed.key.destination) >= traffic_.endpoints->count) {
    return drop(Count::wrong_endpoint);
  }
  if (!reflect(frame, parsed)) return drop(Count::swallowed);
  counts_.add(Count::reflected);
  const std::size_t payload = parsed.l4_offset + l4_header_bytes_of(parsed.key.protocol);
  if (is_learning_ && payload + stamp_bytes <= std::size_t{parsed.l4_offset} + parsed.l4_bytes) {
    learn(frame, frame.data() + payload);
  }
  push(*endpoints_queue_, mbuf);
}

void Generator::on_reply(std::span<const std::byte> frame, const ParsedFrame& parsed,
                         const Reply& reply) {
  counts_.add(Count::received);
  counts_.add(Count::received_bytes, frame.size() + fcs_bytes);
  if (!is_right(frame, parsed)) return counts_.add(Count::bad_checksum);
  if (reply.slot == nullptr) return counts_.add(Count::wrong_tuple);
  Slot& slot = *reply.slot;
  const std::byte* l4 = frame.data() + parsed.l4_offset;
  if (traffic_.kind == Kind::udp) {
    if (slot.tuple != reply.tuple) return counts_.add(Count::late);
    return on_answer(slot, l4 + sizeof(UdpHeader), parsed.l4_bytes - sizeof(UdpHeader));
  }
  const auto& tcp = *reinterpret_cast<const TcpHeader*>(l4);
  const std::uint32_t payload_bytes = parsed.l4_bytes - tcp.header_bytes();
  if (traffic_.kind == Kind::syn) {
    const bool is_answered = (tcp.flags & tcp_flag::ack) != 0;
    if ((tcp.flags & tcp_flag::rst) != 0) return counts_.add(Count::resets);
    const std::uint32_t sent = is_answered ? tcp.acknowledgment.host() - 1 : tcp.sequence.host();
    counts_.add(Count::answers);
    handshake_.add(static_cast<std::uint64_t>((stamp_time(now_) - sent) * ns_per_stamp_));
    return;
  }
  if (slot.tuple != reply.tuple) {
    if (payload_bytes > 0) return counts_.add(Count::late);
    return acknowledge_stray_fin(parsed, tcp);
  }
  const bool is_streaming = traffic_.kind == Kind::tcp &&
                            (slot.train.phase == FlowPhase::open || !traffic_.has_handshake);
  if (is_streaming && payload_bytes > 0) {
    slot.train.acknowledgment = tcp.sequence.host() + payload_bytes;
    return on_answer(slot, l4 + tcp.header_bytes(), payload_bytes);
  }
  on_train(slot, tcp, payload_bytes);
}

void Generator::on_answer(Slot& slot, const std::byte* payload, std::uint32_t payload_bytes) {
  if (payload_bytes < stamp_bytes) return counts_.add(Count::wrong_stamp);
  const Stamp stamp = Stamp::read(payload);
  // Of those sent, the last 32,768 can be told from those that were not.
  const auto age = static_cast<std::uint16_t>(slot.sent - stamp.number);
  if (age == 0 || age > 0x8000) return counts_.add(Count::wrong_stamp);
  ++slot.received;
  counts_.add(Count::answers);
  if (slot.arrivals.arrived(stamp.number)) {
    counts_.add(Count::reordered);
    if (slot.reordered < UINT16_MAX) ++slot.reordered;
  }
  latency_.add(static_cast<std::uint64_t>((stamp_time(now_) - stamp.time) * ns_per_stamp_));
}

void Generator::on_train(Slot& slot, const TcpHeader& tcp, std::uint32_t payload_bytes) {
  const bool was_opening = slot.train.phase == FlowPhase::opening;
  const std::uint32_t initial = slot.train.sequence - 1;
  const TrainStep step = on_segment(slot.train, tcp.flags, tcp.sequence.host(),
                                    tcp.acknowledgment.host(), payload_bytes);
  const std::uint32_t time = stamp_time(now_);
  if (step.event != TrainEvent::stray) slot.touched = time;
  if (was_opening && slot.train.phase != FlowPhase::opening) --opening_;
  switch (step.event) {
    case TrainEvent::opened:
      counts_.add(Count::opened);
      handshake_.add(static_cast<std::uint64_t>((time - initial) * ns_per_stamp_));
      break;
    case TrainEvent::answered:
      on_answer(slot, reinterpret_cast<const std::byte*>(&tcp) + tcp.header_bytes(), payload_bytes);
      break;
    case TrainEvent::closed:
      counts_.add(Count::closed);
      break;
    case TrainEvent::reset:
      counts_.add(Count::resets);
      break;
    case TrainEvent::stray:
      counts_.add(Count::strays);
      return;
    case TrainEvent::none:
      break;
  }
  send_steps(slot, step);
  if (traffic_.kind == Kind::connections && slot.train.phase == FlowPhase::idle) {
    slot.tuple = tuples_.after(slot.tuple);
    slot.sent = slot.received = 0;
    slot.arrivals.expect_from(0);
    free_[(free_first_ + free_count_++) % traffic_.flows] =
        static_cast<std::uint32_t>(&slot - slots_.rows().data());
  }
}

// The end of a flow that has been replaced: its endpoint is owed the last acknowledgment.
void Generator::acknowledge_stray_fin(const ParsedFrame& parsed, const TcpHeader& tcp) {
  counts_.add(Count::strays);
  if ((tcp.flags & tcp_flag::fin) == 0) return;
  send_bare(parsed.key.reversed(), tcp_flag::ack, tcp.acknowledgment.host(),
            tcp.sequence.host() + 1);
}

}  // namespace sluice::perf
