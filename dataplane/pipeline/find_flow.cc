#include <array>
#include <span>

#include "dataplane/flow/tcp_state.h"
#include "dataplane/pipeline/pipelined.h"
#include "dataplane/pipeline/stages.h"

namespace sluice {
namespace {

bool may_have_flow(const Packet& packet) {
  return packet.frame.kind == FrameKind::tcp || packet.frame.kind == FrameKind::udp;
}

bool is_new_connection(const Packet& packet) {
  // Flags stand in TCP frames only.
  return (packet.frame.tcp_flags & (tcp_flag::syn | tcp_flag::ack)) == tcp_flag::syn && packet.direction == Direction::to_endpoint;
}

// The client uses the five-tuple of a finished connection again: the old flow ends, also for packets of it in
// this burst.
void retire(World& world, Burst& burst, FlowRecord* record) {
  for (Packet& packet : burst.all()) {
    if (packet.flow == record) packet.flow = nullptr;
  }
  close_flow(world, *record);
}

// What rewrite() will want beside the record's first line. Inlined by all means: a function that only prefetches does nothing
// in the eyes of the compiler, which leaves its calls out.
[[gnu::always_inline]] inline void prefetch_rest(World& world, const FlowRecord& record) {
  if (Conntrack::needs_second_line(record)) __builtin_prefetch(&record.wide_remote);
  if ((record.flags & flow_flag::is_spliced) != 0) __builtin_prefetch(&world.splices[record.splice_slot], 1);
}

}  // namespace

std::uint32_t find_flow(World& world, Burst& burst) {
  std::uint32_t missing_count = 0;
  std::array<Packet*, burst_count_max> guessed;
  std::size_t guessed_count = 0;
  for_each_live(burst, [&](Packet& packet) {
    FlowMatch guess;
    if (may_have_flow(packet) && world.flows.guess(packet.hash, guess)) [[likely]] {
      packet.flow = guess.record;
      packet.direction = guess.direction;
      guessed[guessed_count++] = &packet;
    } else {
      ++missing_count;
    }
  });
  for (Packet* guess : std::span(guessed).first(guessed_count)) {
    Packet& packet = *guess;
    const FlowMatch match = world.flows.confirm({packet.flow, packet.direction}, packet.frame.key, packet.hash);
    packet.flow = match.record;
    packet.direction = match.direction;
    if (match.record == nullptr) {
      ++missing_count;
      continue;
    }
    constexpr std::uint8_t has_more = flow_flag::client_is_v6 | flow_flag::endpoint_is_v6 | flow_flag::is_spliced;
    if ((match.record->flags & has_more) != 0) prefetch_rest(world, *match.record);
    if (is_new_connection(packet) &&
        may_reopen(*match.record, packet.at<TcpHeader>(packet.frame.l4_offset).sequence.host())) [[unlikely]] {
      retire(world, burst, match.record);
      ++missing_count;
    }
  }
  return missing_count;
}

}  // namespace sluice
