#include "perf/pktgen/generator.h"

#include <fmt/core.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>

#include <algorithm>

#include "perf/common/clock.h"
#include "perf/common/frame.h"
#include "perf/pktgen/reflect.h"

// What is sent. What arrives is in receive.cc.
namespace sluice::perf {
namespace {

constexpr std::uint32_t opening_max = 1'024;  // SYNs without an answer while flows are opened
constexpr std::uint32_t swept_per_round_max = 64;

std::uint64_t ticks_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * tsc_hz());
}

std::size_t least_without_fcs(const Traffic& traffic) {
  bool has_v6 = false;
  for (const AddressPort& vip : traffic.vips) has_v6 |= !vip.address.is_v4();
  return std::max(
      frame_bytes_least,
      l4_offset_of(!has_v6) + l4_header_bytes_of(traffic.protocol_number()) + stamp_bytes);
}

}  // namespace

std::uint16_t Traffic::size_least() const {
  return static_cast<std::uint16_t>(least_without_fcs(*this) + fcs_bytes);
}

Result<std::unique_ptr<Generator>> Generator::create(const Traffic& traffic,
                                                     const GeneratorPorts& ports) {
  if (traffic.sizes.size() == 1 && traffic.sizes[0].bytes < traffic.size_least()) {
    return fail(fmt::format("size {}: headers and stamp of this traffic take {}",
                            traffic.sizes[0].bytes, traffic.size_least()));
  }
  std::vector<AddressPort> vips = traffic.vips;
  if (vips.empty()) vips.push_back({IpAddress::v4(be32(0)), 0});
  auto tuples =
      Tuples::create(std::move(vips), traffic.clients, traffic.protocol_number(), traffic.flows);
  if (!tuples) return tl::unexpected(tuples.error());
  return std::unique_ptr<Generator>(new Generator(traffic, ports, std::move(*tuples)));
}

Generator::Generator(const Traffic& traffic, const GeneratorPorts& ports, Tuples tuples)
    : traffic_(traffic),
      ports_(ports),
      tuples_(std::move(tuples)),
      order_(traffic.distribution, traffic.flows),
      sizes_(traffic.sizes, least_without_fcs(traffic)),
      slots_(traffic.flows),
      ns_per_stamp_((1u << stamp_shift) * 1e9 / tsc_hz()) {
  for (std::uint32_t i = 0; i < traffic_.flows; ++i) slots_[i].tuple = i;
  for (const AddressPort& vip : traffic_.vips) vip_addresses_.push_back(vip.address);
  if (traffic_.kind == Kind::connections) {
    free_.resize(traffic_.flows);
    for (std::uint32_t i = 0; i < traffic_.flows; ++i) free_[i] = i;
    free_count_ = traffic_.flows;
  }
  to_clients_.port = ports_.clients;
  endpoints_queue_ = &to_clients_;
  if (ports_.endpoints && *ports_.endpoints != ports_.clients) {
    to_endpoints_.port = *ports_.endpoints;
    endpoints_queue_ = &to_endpoints_;
  }
}

Generator::~Generator() {
  for (TxQueue* queue : {&to_clients_, &to_endpoints_}) {
    for (std::uint32_t i = 0; i < queue->count; ++i) rte_pktmbuf_free(queue->mbufs[i]);
  }
  rte_pktmbuf_free_bulk(fresh_.data(), fresh_count_);
}

// --- the loop

bool Generator::find_gateway(const IpAddress& gateway, double seconds) {
  wanted_gateway_ = gateway;
  has_gateway_ = false;
  const IpAddress own = gateway.is_v4() ? traffic_.clients.v4.first : traffic_.clients.v6.first;
  const std::uint64_t end = tsc() + ticks_of(seconds);
  for (std::uint64_t now = tsc(), asked = 0; !has_gateway_ && now < end && !is_stopping();
       now = tsc()) {
    if (now - asked > ticks_of(0.1)) {
      asked = now;
      if (rte_mbuf* mbuf = new_frame()) {
        const std::uint16_t bytes = write_neighbor_question(rte_pktmbuf_mtod(mbuf, std::byte*),
                                                            ports_.clients_mac, own, gateway);
        rte_pktmbuf_append(mbuf, bytes);
        push(to_clients_, mbuf);
      }
    }
    if (!serve()) rte_pause();
  }
  wanted_gateway_.reset();
  counts_.publish();
  return has_gateway_;
}

std::uint32_t Generator::open_flows(double per_second, double seconds) {
  if (traffic_.kind != Kind::tcp || !traffic_.has_handshake) return traffic_.flows;
  Pacer pacer(per_second, tsc_hz(), tsc());
  const std::uint64_t end = tsc() + ticks_of(seconds);
  const std::uint64_t opened_before = counts_.own()[Count::opened];
  std::uint64_t opened = 0;
  retries_ = true;
  for (std::uint64_t now = tsc(); now < end && !is_stopping(); now = tsc()) {
    serve();
    if (to_clients_.is_empty() && cursor_ < traffic_.flows && opening_ < opening_max) {
      const std::uint32_t due = pacer.due(now, burst_count_max);
      for (std::uint32_t i = 0; i < due && cursor_ < traffic_.flows; ++i)
        begin_slot(cursor_++, now);
      pacer.pay(due);
    }
    sweep(now);
    opened = counts_.own()[Count::opened] - opened_before;
    publish_now_and_then();
    if (opened >= traffic_.flows) break;
  }
  retries_ = false;
  cursor_ = 0;
  counts_.publish();
  return static_cast<std::uint32_t>(opened);
}

std::uint32_t Generator::prebuild(double seconds) {
  templates_.resize(2 * std::size_t{traffic_.flows});
  is_learning_ = true;
  const std::size_t side = ports_.endpoints ? 1 : 0;
  const std::uint64_t end = tsc() + ticks_of(seconds);
  std::uint32_t known = 0, index = 0;
  for (now_ = tsc(); now_ < end && !is_stopping(); now_ = tsc()) {
    serve();
    if (!to_clients_.is_empty()) continue;
    // One burst after the other, round and round, until every flow is known.
    const std::uint32_t last = std::min(index + burst_count_max, traffic_.flows);
    for (; index < last; ++index) {
      Slot& slot = slots_[index];
      const bool is_open = traffic_.kind != Kind::tcp || !traffic_.has_handshake ||
                           slot.train.phase == FlowPhase::open;
      if (templates_[2 * index + side].frame_bytes != 0 || !is_open) continue;
      send_stamped(slot, tcp_flag::psh | tcp_flag::ack, slot.train.sequence, now_);
    }
    flush(to_clients_);
    if (index < traffic_.flows) continue;
    settle(0.01, 1);
    known = 0;
    for (std::size_t i = 0; i < traffic_.flows; ++i) {
      known += templates_[2 * i + side].frame_bytes != 0 ? 1 : 0;
    }
    if (known == traffic_.flows) break;
    index = 0;
  }
  is_learning_ = false;
  is_replaying_ = known > 0;
  counts_.publish();
  return known;
}

void Generator::begin_measuring() {
  for (Slot& slot : slots_.rows()) {
    slot.sent = slot.received = 0;
    slot.reordered = 0;
    slot.arrivals.expect_from(0);
  }
  latency_ = {};
  handshake_ = {};
}

void Generator::run(double per_second, double seconds) {
  const std::uint64_t begin = tsc(), end = begin + ticks_of(seconds);
  const bool is_sending = !traffic_.vips.empty();
  Pacer pacer(per_second, tsc_hz(), begin);
  if (traffic_.distribution.kind == Distribution::Kind::churn) {
    churn_.emplace(traffic_.distribution.new_flows, tsc_hz(), begin);
  }
  for (std::uint64_t now = begin; now < end && !is_stopping(); now = tsc()) {
    const bool is_busy = serve();
    if (!is_sending) {
      if (!is_busy) rte_pause();
      publish_now_and_then();
      continue;
    }
    if (to_clients_.is_empty()) {
      if (churn_) replace_flows(now);
      if (const std::uint32_t due = pacer.due(now, burst_count_max); due > 0) {
        pacer.pay(send_some(due));
        flush(to_clients_);
      }
      if (const std::uint64_t forgotten = pacer.take_forgotten()) {
        counts_.add(Count::behind, forgotten);
      }
    }
    if (needs_sweep()) sweep(now);
    publish_now_and_then();
  }
  churn_.reset();
  counts_.publish();
}

void Generator::settle(double quiet_seconds, double seconds) {
  std::uint64_t now = tsc(), heard = now;
  const std::uint64_t end = now + ticks_of(seconds), quiet = ticks_of(quiet_seconds);
  for (; now < end && now - heard < quiet; now = tsc()) {
    if (serve() || to_clients_.count > 0 || to_endpoints_.count > 0) heard = now;
  }
  counts_.publish();
}

FlowLosses Generator::flow_losses() const {
  FlowLosses losses;
  for (const Slot& slot : slots_.rows()) {
    if (slot.sent == 0) ++losses.flows_unused;
    if (slot.reordered > 0) ++losses.flows_reordered;
    if (slot.received > slot.sent) losses.twice += slot.received - slot.sent;
    if (slot.sent > slot.received) {
      ++losses.flows_with_loss;
      losses.worst_loss = std::max(losses.worst_loss, slot.sent - slot.received);
    }
  }
  return losses;
}

// --- queues

void Generator::push(TxQueue& queue, rte_mbuf* mbuf) {
  if (queue.count == queue_count_max) {
    rte_pktmbuf_free(mbuf);
    return counts_.add(Count::overflowed);
  }
  queue.mbufs[queue.count++] = mbuf;
}

void Generator::flush(TxQueue& queue) {
  if (queue.count == 0) return;
  std::uint32_t sent = 0;
  while (sent < queue.count) {
    const auto wanted = static_cast<std::uint16_t>(std::min(queue.count - sent, burst_count_max));
    const std::uint16_t taken = rte_eth_tx_burst(queue.port, 0, queue.mbufs.data() + sent, wanted);
    sent += taken;
    if (taken < wanted) {
      counts_.add(Count::tx_refusals);
      break;
    }
  }
  std::copy(queue.mbufs.begin() + sent, queue.mbufs.begin() + queue.count, queue.mbufs.begin());
  queue.count -= sent;
}

rte_mbuf* Generator::new_frame() {
  if (fresh_count_ == 0) {
    if (rte_pktmbuf_alloc_bulk(ports_.pool, fresh_.data(), burst_count_max) != 0) {
      counts_.add(Count::no_buffer);
      return nullptr;
    }
    fresh_count_ = burst_count_max;
  }
  return fresh_[--fresh_count_];
}

// --- what is sent

std::uint32_t Generator::send_some(std::uint32_t most) {
  now_ = tsc();
  if (is_replaying_) return send_prebuilt(most);
  return traffic_.kind == Kind::connections ? send_connections(most) : send_stream(most);
}

std::uint32_t Generator::send_stream(std::uint32_t most) {
  std::array<std::uint32_t, burst_count_max> chosen;
  const std::uint64_t now = now_;
  if (traffic_.kind == Kind::syn) {
    for (std::uint32_t i = 0; i < most; ++i) {
      begin_slot(cursor_, now);
      Slot& slot = slots_[cursor_];
      slot.tuple = tuples_.after(slot.tuple);
      cursor_ = cursor_ + 1 == traffic_.flows ? 0 : cursor_ + 1;
    }
    return most;
  }
  for (std::uint32_t i = 0; i < most; ++i) {
    chosen[i] = order_.next();
    __builtin_prefetch(&slots_[chosen[i]], 1);
  }
  for (std::uint32_t i = 0; i < most; ++i) {
    Slot& slot = slots_[chosen[i]];
    if (traffic_.kind == Kind::udp) {
      send_stamped(slot, 0, 0, now);
      continue;
    }
    // A flow that is being opened (churn) takes no part yet; its packet is saved.
    if (traffic_.has_handshake && slot.train.phase != FlowPhase::open) continue;
    send_segment(slot, {tcp_flag::psh | tcp_flag::ack, true});
  }
  return most;
}

std::uint32_t Generator::send_prebuilt(std::uint32_t most) {
  std::array<const Template*, burst_count_max> chosen;
  const bool has_replies = ports_.endpoints.has_value();
  for (std::uint32_t i = 0; i < most; ++i) {
    const std::size_t flow = order_.next();
    chosen[i] = &templates_[2 * flow + (has_replies ? i & 1 : 0)];
    __builtin_prefetch(chosen[i]);
    __builtin_prefetch(chosen[i]->bytes.data() + 64);
  }
  std::uint32_t count = 0;
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < most; ++i) {
    const Template& made = *chosen[i];
    rte_mbuf* mbuf = made.frame_bytes == 0 ? nullptr : new_frame();
    if (mbuf == nullptr) continue;
    auto* frame = rte_pktmbuf_mtod(mbuf, std::byte*);
    std::memcpy(frame, made.bytes.data(), made.bytes.size());
    if (made.frame_bytes > made.bytes.size()) {
      std::memset(frame + made.bytes.size(), 0, made.frame_bytes - made.bytes.size());
    }
    mbuf->data_len = made.frame_bytes;
    mbuf->pkt_len = made.frame_bytes;
    bytes += made.frame_bytes + fcs_bytes;
    push(has_replies && (i & 1) != 0 ? *endpoints_queue_ : to_clients_, mbuf);
    ++count;
  }
  counts_.add(Count::requests, count);
  counts_.add(Count::sent, count);
  counts_.add(Count::sent_bytes, bytes);
  return most;
}

std::uint32_t Generator::send_connections(std::uint32_t most) {
  const std::uint64_t now = now_;
  std::uint32_t begun = 0;
  for (; begun < most && free_count_ > 0; ++begun) {
    const std::uint32_t index = free_[free_first_];
    free_first_ = free_first_ + 1 == traffic_.flows ? 0 : free_first_ + 1;
    --free_count_;
    begin_slot(index, now);
  }
  // At a given rate, connections for which there is no room are not caught up with.
  return begun < most && free_count_ == 0 ? most : begun;
}

void Generator::replace_flows(std::uint64_t now) {
  const std::uint32_t due = churn_->due(now, burst_count_max);
  churn_->pay(due);
  for (std::uint32_t i = 0; i < due; ++i) {
    Slot& slot = slots_[cursor_];
    if (traffic_.kind == Kind::tcp && traffic_.has_handshake) {
      if (slot.train.phase == FlowPhase::opening) --opening_;
      if (slot.train.phase == FlowPhase::open) {
        send_segment(slot, {tcp_flag::fin | tcp_flag::ack, false});
      }
    }
    slot.tuple = tuples_.after(slot.tuple);
    slot.sent = slot.received = 0;
    slot.arrivals.expect_from(0);
    if (traffic_.kind == Kind::tcp && traffic_.has_handshake) begin_slot(cursor_, now);
    cursor_ = cursor_ + 1 == traffic_.flows ? 0 : cursor_ + 1;
  }
}

void Generator::begin_slot(std::uint32_t index, std::uint64_t now) {
  Slot& slot = slots_[index];
  // The initial number tells the time, so the SYN-ACK tells how long it took.
  const std::uint32_t time = stamp_time(now);
  const std::uint16_t exchanges = traffic_.kind == Kind::connections ? traffic_.exchanges : 0;
  slot.touched = time;
  if (traffic_.kind == Kind::syn) {
    counts_.add(Count::requests);
  } else {
    ++opening_;
  }
  const TrainStep step = begin(slot.train, time, exchanges);
  send_steps(slot, step);
}

bool Generator::send_steps(Slot& slot, const TrainStep& step) {
  bool is_sent = true;
  for (std::size_t i = 0; i < step.count; ++i) is_sent &= send_segment(slot, step.segments[i]);
  return is_sent;
}

bool Generator::send_segment(Slot& slot, const TrainSegment& segment) {
  if (segment.has_payload) {
    return send_stamped(slot, segment.tcp_flags, slot.train.sequence, now_);
  }
  const std::uint32_t sequence = advance(slot.train, segment, 0);
  send_bare(tuples_.key_of(slot.tuple), segment.tcp_flags, sequence, slot.train.acknowledgment);
  return true;
}

bool Generator::send_stamped(Slot& slot, std::uint8_t tcp_flags, std::uint32_t sequence,
                             std::uint64_t now) {
  rte_mbuf* mbuf = new_frame();
  if (mbuf == nullptr) return false;
  const FlowKey key = tuples_.key_of(slot.tuple);
  const std::size_t payload_offset = payload_offset_of(key);
  const std::uint16_t bytes = sizes_.next();
  auto* frame = rte_pktmbuf_mtod(mbuf, std::byte*);
  // While frames are learned the stamp tells the endpoint whose they are.
  const auto index = static_cast<std::uint32_t>(&slot - slots_.rows().data());
  const Stamp stamp{static_cast<std::uint16_t>(slot.sent), is_learning_ ? index : stamp_time(now)};
  stamp.write(frame + payload_offset);
  std::memset(frame + payload_offset + stamp_bytes, 0, bytes - payload_offset - stamp_bytes);
  FrameFields fields;
  fields.to = gateway_mac_;
  fields.from = ports_.clients_mac;
  fields.tcp_flags = tcp_flags;
  fields.sequence = sequence;
  fields.acknowledgment = slot.train.acknowledgment;
  fields.payload_bytes = bytes - payload_offset;
  fields.payload_sum = checksum_sum({frame + payload_offset, stamp_bytes});
  const std::uint16_t frame_bytes = write_headers(frame, key, fields);
  mbuf->data_len = frame_bytes;
  mbuf->pkt_len = frame_bytes;
  if (is_learning_) {
    Template& made = templates_[2 * std::size_t{index}];
    std::memcpy(made.bytes.data(), frame, std::min<std::size_t>(frame_bytes, made.bytes.size()));
    made.frame_bytes = frame_bytes;
  }
  ++slot.sent;
  slot.train.sequence = sequence + static_cast<std::uint32_t>(fields.payload_bytes);
  counts_.add(Count::requests);
  counts_.add(Count::sent);
  counts_.add(Count::sent_bytes, frame_bytes + fcs_bytes);
  push(to_clients_, mbuf);
  return true;
}

void Generator::send_bare(const FlowKey& key, std::uint8_t tcp_flags, std::uint32_t sequence,
                          std::uint32_t acknowledgment) {
  rte_mbuf* mbuf = new_frame();
  if (mbuf == nullptr) return;
  auto* frame = rte_pktmbuf_mtod(mbuf, std::byte*);
  FrameFields fields;
  fields.to = gateway_mac_;
  fields.from = ports_.clients_mac;
  fields.tcp_flags = tcp_flags;
  fields.sequence = sequence;
  fields.acknowledgment = acknowledgment;
  std::memset(frame + frame_bytes_least - 8, 0, 8);  // padding tells nothing
  const std::uint16_t bytes = write_headers(frame, key, fields);
  mbuf->data_len = bytes;
  mbuf->pkt_len = bytes;
  counts_.add(Count::sent);
  counts_.add(Count::sent_bytes, bytes + fcs_bytes);
  push(to_clients_, mbuf);
}

// --- timeouts

bool Generator::needs_sweep() const {
  return traffic_.kind == Kind::connections ||
         (opening_ > 0 && traffic_.kind == Kind::tcp && traffic_.has_handshake);
}

// Visits every slot once in half of the timeout, a few in each round.
void Generator::sweep(std::uint64_t now) {
  const double per_tick = 2.0 * traffic_.flows / (traffic_.timeout_seconds * tsc_hz());
  const double owed = std::min(static_cast<double>(now - swept_) * per_tick, 1e6);
  if (owed < 1) return;
  swept_ = now;
  // Signed: a segment may have been received after `now` was read.
  const auto timeout = static_cast<std::int32_t>(stamp_time(ticks_of(traffic_.timeout_seconds)));
  const std::uint32_t time = stamp_time(now);
  for (std::uint32_t i = 0; i < std::min(static_cast<std::uint32_t>(owed), swept_per_round_max);
       ++i) {
    const std::uint32_t index = sweep_cursor_;
    sweep_cursor_ = index + 1 == traffic_.flows ? 0 : index + 1;
    Slot& slot = slots_[index];
    const FlowPhase phase = slot.train.phase;
    if (phase == FlowPhase::idle || phase == FlowPhase::open ||
        static_cast<std::int32_t>(time - slot.touched) < timeout)
      continue;
    slot.touched = time;
    if (phase == FlowPhase::opening && (retries_ || traffic_.kind == Kind::tcp)) {
      counts_.add(Count::retries);
      send_bare(tuples_.key_of(slot.tuple), tcp_flag::syn, slot.train.sequence - 1, 0);
      continue;
    }
    if (phase == FlowPhase::opening) --opening_;
    counts_.add(Count::timed_out);
    slot.train.phase = FlowPhase::idle;
    slot.tuple = tuples_.after(slot.tuple);
    slot.sent = slot.received = 0;
    slot.arrivals.expect_from(0);
    free_[(free_first_ + free_count_++) % traffic_.flows] = index;
  }
}

}  // namespace sluice::perf
