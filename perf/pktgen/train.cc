#include "perf/pktgen/train.h"

namespace sluice::perf {

using namespace tcp_flag;

TrainStep begin(Train& train, std::uint32_t initial_sequence, std::uint16_t exchanges) {
  train.sequence = initial_sequence;
  train.acknowledgment = 0;
  train.exchanges_left = exchanges;
  train.phase = FlowPhase::opening;
  TrainStep step;
  step.send(syn);
  return step;
}

TrainStep on_segment(Train& train, std::uint8_t tcp_flags, std::uint32_t sequence,
                     std::uint32_t acknowledgment, std::uint32_t payload_bytes) {
  TrainStep step;
  step.event = TrainEvent::stray;
  if ((tcp_flags & rst) != 0) {
    if (train.phase == FlowPhase::idle) return step;
    train.phase = FlowPhase::idle;
    step.event = TrainEvent::reset;
    return step;
  }
  if ((tcp_flags & ack) == 0 || acknowledgment != train.sequence) return step;
  const bool is_next = sequence == train.acknowledgment;
  switch (train.phase) {
    case FlowPhase::opening:
      if ((tcp_flags & (syn | fin)) != syn) return step;
      train.acknowledgment = sequence + 1;
      train.phase = FlowPhase::open;
      step.event = TrainEvent::opened;
      step.send(ack);
      if (train.exchanges_left > 0) {
        train.phase = FlowPhase::waiting;
        step.send(psh | ack, true);
      }
      return step;
    case FlowPhase::waiting:
      if (payload_bytes == 0 || (tcp_flags & (syn | fin)) != 0 || !is_next) return step;
      train.acknowledgment = sequence + payload_bytes;
      step.event = TrainEvent::answered;
      step.send(ack);
      if (--train.exchanges_left > 0) {
        step.send(psh | ack, true);
      } else {
        train.phase = FlowPhase::closing;
        step.send(fin | ack);
      }
      return step;
    case FlowPhase::closing:
      if ((tcp_flags & (syn | fin)) != fin || !is_next) return step;
      train.acknowledgment = sequence + 1;
      train.phase = FlowPhase::idle;
      step.event = TrainEvent::closed;
      step.send(ack);
      return step;
    case FlowPhase::open:
    case FlowPhase::idle:
      return step;
  }
  return step;
}

std::uint32_t advance(Train& train, const TrainSegment& segment, std::uint32_t payload_bytes) {
  const std::uint32_t sequence = train.sequence;
  if ((segment.tcp_flags & (syn | fin)) != 0) ++train.sequence;
  if (segment.has_payload) train.sequence += payload_bytes;
  return sequence;
}

}  // namespace sluice::perf
