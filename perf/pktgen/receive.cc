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
  std::array<ParsedFrame, burst_count_max> parsed;
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
    if (is_at_endpoints || traffic_.vips.empty()) continue;
    if (const auto tuple = tuples_.tuple_of_reply(parsed[i].key)) {
      __builtin_prefetch(&slots_[tuples_.slot_of(*tuple)], 1);
    }
  }
  for (std::uint16_t i = 0; i < count; ++i) handle(mbufs[i], parsed[i], is_at_endpoints);
  return true;
}

bool Generator::is_right(std::span<const std::byte> frame, const ParsedFrame& parsed) {
  if (!traffic_.verifies ||
      has_right_checksums(frame, parsed.key, parsed.l3_offset, parsed.l4_offset, parsed.l4_bytes)) {
    return true;
  }
  // UDP over IPv4 may do without one, RFC 768.
  const auto* udp = reinterpret_cast<const UdpHeader*>(frame.data() + parsed.l4_offset);
  return parsed.kind == FrameKind::udp && udp->checksum == 0;
}

void Generator::handle(rte_mbuf* mbuf, const ParsedFrame& parsed, bool is_at_endpoints) {
  const std::span<std::byte> frame{rte_pktmbuf_mtod(mbuf, std::byte*), mbuf->data_len};
  const auto drop = [&](Count why) {
    counts_.add(why);
    rte_pktmbuf_free(mbuf);
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
      rte_pktmbuf_free(mbuf);
      return;
    }
    return drop(Count::unexpected);
  }
  const bool is_for_client =
      !is_at_endpoints && !traffic_.vips.empty() && tuples_.is_client(parsed.key.destination);
  if (is_for_client) {
    on_reply(frame, parsed);
    rte_pktmbuf_free(mbuf);
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
  push(*endpoints_queue_, mbuf);
}

void Generator::on_reply(std::span<const std::byte> frame, const ParsedFrame& parsed) {
  counts_.add(Count::received);
  counts_.add(Count::received_bytes, frame.size() + fcs_bytes);
  if (!is_right(frame, parsed)) return counts_.add(Count::bad_checksum);
  const auto tuple = tuples_.tuple_of_reply(parsed.key);
  if (!tuple) return counts_.add(Count::wrong_tuple);
  Slot& slot = slots_[tuples_.slot_of(*tuple)];
  const std::byte* l4 = frame.data() + parsed.l4_offset;
  if (traffic_.kind == Kind::udp) {
    if (slot.tuple != *tuple) return counts_.add(Count::late);
    return on_answer(slot, l4 + sizeof(UdpHeader), parsed.l4_bytes - sizeof(UdpHeader));
  }
  const auto& tcp = *reinterpret_cast<const TcpHeader*>(l4);
  const std::uint32_t payload_bytes = parsed.l4_bytes - tcp.header_bytes();
  if (traffic_.kind == Kind::syn) {
    const bool is_answered = (tcp.flags & tcp_flag::ack) != 0;
    if ((tcp.flags & tcp_flag::rst) != 0) return counts_.add(Count::resets);
    const std::uint32_t sent = is_answered ? tcp.acknowledgment.host() - 1 : tcp.sequence.host();
    counts_.add(Count::answers);
    handshake_.add(static_cast<std::uint64_t>((stamp_time(tsc()) - sent) * ns_per_stamp_));
    return;
  }
  if (slot.tuple != *tuple) {
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
  latency_.add(static_cast<std::uint64_t>((stamp_time(tsc()) - stamp.time) * ns_per_stamp_));
}

void Generator::on_train(Slot& slot, const TcpHeader& tcp, std::uint32_t payload_bytes) {
  const bool was_opening = slot.train.phase == FlowPhase::opening;
  const std::uint32_t initial = slot.train.sequence - 1;
  const TrainStep step = on_segment(slot.train, tcp.flags, tcp.sequence.host(),
                                    tcp.acknowledgment.host(), payload_bytes);
  const std::uint32_t time = stamp_time(tsc());
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
