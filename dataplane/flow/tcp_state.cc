#include "dataplane/flow/tcp_state.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint32_t udp_one_way_ms_max = 30'000;
constexpr std::uint32_t handshake_window_bytes = 1u << 20;  // more than any initial window, scaled or not

void set(FlowRecord& record, std::uint8_t flag) { record.flags = static_cast<std::uint8_t>(record.flags | flag); }

}  // namespace

void change_tcp_state(FlowRecord& record, std::uint8_t tcp_flags, Direction direction) {
  using namespace flow_flag;
  const bool is_from_client = direction == Direction::to_endpoint;
  if ((tcp_flags & tcp_flag::rst) != 0) {
    record.state = FlowState::reset;
    record.flags = static_cast<std::uint8_t>(record.flags & ~(heard_client | heard_endpoint));
    if (is_one_sided(record)) set(record, heard_endpoint);  // which never is
    return;
  }
  switch (record.state) {
    case FlowState::opening:
      if (!is_from_client && (tcp_flags & tcp_flag::syn) != 0) record.state = FlowState::answered;
      if (is_one_sided(record) && (tcp_flags & tcp_flag::syn) == 0) record.state = FlowState::established;
      break;
    case FlowState::answered:
      if (is_from_client && (tcp_flags & tcp_flag::syn) == 0) record.state = FlowState::established;
      break;
    case FlowState::reset:
      set(record, is_from_client ? heard_client : heard_endpoint);
      if ((record.flags & heard_client) != 0 && (record.flags & heard_endpoint) != 0) {
        record.state = FlowState::established;
      }
      return;
    default:
      break;
  }
  if ((tcp_flags & tcp_flag::fin) != 0) {
    set(record, is_from_client ? fin_from_client : fin_from_endpoint);
    const bool is_closed = (record.flags & fin_from_client) != 0 && (record.flags & fin_from_endpoint) != 0;
    record.state = is_closed ? FlowState::closed : FlowState::closing;
  }
}

bool is_plausible_from_client(const FlowRecord& record, std::uint8_t tcp_flags, std::uint32_t sequence) {
  if ((tcp_flags & tcp_flag::syn) != 0) return true;
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
    case FlowState::ended: return node.tcp_closing_ms;
    case FlowState::closed: return node.tcp_closed_ms;
    case FlowState::reset: return node.tcp_reset_ms;
    default: return record.idle_timeout_ms;
  }
}

}  // namespace sluice
