#include "dataplane/flow/tcp_state.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint32_t udp_one_way_ms_max = 30'000;
constexpr std::uint32_t handshake_window_bytes = 1u << 20;  // more than any initial window, scaled or not

constexpr std::uint8_t fins = flow_flag::fin_from_client | flow_flag::fin_from_endpoint;
constexpr std::uint8_t doubted_fins = flow_flag::fin_doubted_client | flow_flag::fin_doubted_endpoint;

void set(FlowRecord& record, unsigned flag) { record.flags = static_cast<std::uint8_t>(record.flags | flag); }
void clear(FlowRecord& record, unsigned flag) { record.flags = static_cast<std::uint8_t>(record.flags & ~flag); }

// Whether a RST in answer to the client's SYN, or to the answer to that, is one: both bear the number after the SYN's.
bool is_of_handshake(const FlowRecord& record, const TcpSegment& segment) {
  if ((record.flags & flow_flag::is_spliced) != 0) return false;  // splice_join.cc hears those
  if (segment.direction == Direction::to_endpoint) return segment.sequence == record.client_isn + 1;
  return (segment.flags & tcp_flag::ack) != 0 && segment.acknowledgment == record.client_isn + 1;
}

bool hear_reset(FlowRecord& record, const TcpSegment& segment) {
  switch (record.state) {
    case FlowState::opening:
    case FlowState::answered:
      if (!is_of_handshake(record, segment)) return false;
      break;
    case FlowState::doubted:
      if (!segment.is_proof) return false;
      break;
    case FlowState::reset: break;
    case FlowState::established:
    case FlowState::closing: record.state = FlowState::doubted; return true;
    default: return false;
  }
  record.state = FlowState::reset;
  clear(record, flow_flag::heard_client | flow_flag::heard_endpoint);
  if (is_one_sided(record)) set(record, flow_flag::heard_endpoint);  // which never is
  return false;
}

void confirm_fin(FlowRecord& record, std::uint32_t fin_end, const TcpSegment& segment) {
  const bool is_from_client = segment.direction == Direction::to_endpoint;
  const unsigned doubted = is_from_client ? flow_flag::fin_doubted_endpoint : flow_flag::fin_doubted_client;
  if ((record.flags & doubted) == 0 || (segment.flags & tcp_flag::ack) == 0 || segment.acknowledgment != fin_end) return;
  clear(record, doubted);
  set(record, is_from_client ? flow_flag::fin_from_endpoint : flow_flag::fin_from_client);
  if ((record.flags & fins) == fins) record.state = FlowState::closed;
}

// One FIN at a time can wait for its acknowledgment, the last one: were it the first, a forged one would be in the way of the
// true one.
void hear_fin(FlowRecord& record, std::uint32_t& fin_end, const TcpSegment& segment) {
  if (record.state == FlowState::closed) return;
  if (record.state == FlowState::established) record.state = FlowState::closing;
  if (is_one_sided(record)) return set(record, flow_flag::fin_from_client);
  const bool is_from_client = segment.direction == Direction::to_endpoint;
  if ((record.flags & (is_from_client ? flow_flag::fin_from_client : flow_flag::fin_from_endpoint)) != 0) return;
  clear(record, doubted_fins);
  set(record, is_from_client ? flow_flag::fin_doubted_client : flow_flag::fin_doubted_endpoint);
  fin_end = segment.end;
}

}  // namespace

bool change_tcp_state(FlowRecord& record, std::uint32_t& fin_end, const TcpSegment& segment) {
  using namespace flow_flag;
  if ((segment.flags & tcp_flag::rst) != 0) return hear_reset(record, segment);
  const bool is_from_client = segment.direction == Direction::to_endpoint;
  const bool is_syn = (segment.flags & tcp_flag::syn) != 0;
  switch (record.state) {
    case FlowState::opening:
      if (!is_from_client && is_syn) record.state = FlowState::answered;
      if (is_one_sided(record) && !is_syn) record.state = FlowState::established;
      break;
    case FlowState::answered:
      if (is_from_client && !is_syn) record.state = FlowState::established;
      break;
    case FlowState::doubted:
      if (segment.direction == to_who_knows(record)) break;
      record.state = (record.flags & (fins | doubted_fins)) != 0 ? FlowState::closing : FlowState::established;
      break;
    case FlowState::reset:
      set(record, is_from_client ? heard_client : heard_endpoint);
      if ((record.flags & heard_client) != 0 && (record.flags & heard_endpoint) != 0) {
        clear(record, heard_client | heard_endpoint);
        record.state = FlowState::established;
      }
      return false;
    default:
      break;
  }
  if (record.state < FlowState::established) return false;
  confirm_fin(record, fin_end, segment);
  if ((segment.flags & tcp_flag::fin) != 0) hear_fin(record, fin_end, segment);
  return false;
}

bool is_open_at_both_ends(const FlowRecord& record) {
  if (record.state == FlowState::established) return true;
  return (record.state == FlowState::closing || record.state == FlowState::doubted) && (record.flags & fins) == 0;
}

bool is_plausible_from_client(const FlowRecord& record, std::uint8_t tcp_flags, std::uint32_t sequence) {
  if ((tcp_flags & tcp_flag::syn) != 0) return true;
  if ((record.flags & flow_flag::is_spliced) != 0) return true;  // splice_join.cc has judged it
  const bool may_be_answered = record.state == FlowState::answered || is_one_sided(record);
  if (record.state == FlowState::opening && !may_be_answered) return (tcp_flags & tcp_flag::rst) != 0;
  if (record.state <= FlowState::answered) return sequence - record.client_isn <= handshake_window_bytes;
  return true;
}

bool may_reopen(const FlowRecord& record, std::uint32_t sequence) {
  if (record.state == FlowState::closing && is_one_sided(record)) return sequence != record.client_isn;
  return record.state == FlowState::closed || record.state == FlowState::reset || record.state == FlowState::ended;
}

std::uint32_t timeout_ms_of(const FlowRecord& record, const NodeRow& node) {
  switch (record.state) {
    case FlowState::opening:
    case FlowState::answered: return node.tcp_opening_ms;
    case FlowState::one_way: return std::min(record.idle_timeout_ms, udp_one_way_ms_max);
    case FlowState::closing:
    case FlowState::doubted: return is_open_at_both_ends(record) ? record.idle_timeout_ms : node.tcp_closing_ms;
    case FlowState::ended: return node.tcp_closing_ms;
    case FlowState::closed: return node.tcp_closed_ms;
    case FlowState::reset: return node.tcp_reset_ms;
    default: return record.idle_timeout_ms;
  }
}

}  // namespace sluice
