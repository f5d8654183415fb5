// What a run counts. One writer (the loop), any number of readers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::perf {

// name, what it says to a reader of the report
#define SLUICE_PKTGEN_COUNTS(X)                                                                    \
  X(sent, "frames that the clients sent")                                                          \
  X(sent_bytes, "their bytes, FCS included")                                                       \
  X(received, "frames that came back to the clients")                                              \
  X(received_bytes, "their bytes, FCS included")                                                   \
  X(requests, "stamped packets (or single SYNs) sent")                                             \
  X(answers, "stamped packets (or SYN-ACKs) that came back")                                       \
  X(reordered, "of these, after one that was sent later, or twice")                                \
  X(late, "came back after their flow had been replaced")                                          \
  X(reflected, "packets answered as an endpoint")                                                  \
  X(swallowed, "packets at an endpoint that have no answer (bare ACKs, resets)")                   \
  X(opened, "connections opened")                                                                  \
  X(closed, "connections closed by both sides in order")                                           \
  X(timed_out, "connections given up for want of an answer")                                       \
  X(resets, "connections ended by a reset")                                                        \
  X(retries, "SYNs sent again")                                                                    \
  X(strays, "segments that belong to nothing now")                                                 \
  X(neighbor_answers, "ARP and neighbour questions answered")                                      \
  X(tx_refusals, "bursts that the port did not take whole at first: it, or who reads it, is full") \
  X(overflowed, "answers not sent because the port took none for long")                            \
  X(no_buffer, "packets not sent for want of a buffer")                                            \
  X(behind, "packets not sent because this generator was too late for them")                       \
  X(bad_checksum, "frames with a wrong IP or transport checksum")                                  \
  X(malformed, "frames that are otherwise broken")                                                 \
  X(wrong_tuple, "packets to a client that reverse none of its five-tuples")                       \
  X(wrong_endpoint, "packets to an endpoint that is none")                                         \
  X(wrong_stamp, "packets whose stamp was never sent")                                             \
  X(unexpected, "other frames")

enum class Count : std::uint8_t {
#define X(name, text) name,
  SLUICE_PKTGEN_COUNTS(X)
#undef X
};

struct CountText {
  std::string_view name, text;
};
inline constexpr CountText count_texts[] = {
#define X(name, text) {#name, text},
    SLUICE_PKTGEN_COUNTS(X)
#undef X
};
inline constexpr std::size_t count_kinds = std::size(count_texts);

// Packets that should never be there; anything else may be the fault of nobody.
inline constexpr Count broken_kinds[] = {Count::bad_checksum, Count::malformed, Count::wrong_tuple,
                                         Count::wrong_endpoint, Count::wrong_stamp};

struct CountsSeen {
  std::array<std::uint64_t, count_kinds> values{};

  std::uint64_t operator[](Count kind) const { return values[static_cast<std::size_t>(kind)]; }
  friend CountsSeen operator-(CountsSeen after, const CountsSeen& before) {
    for (std::size_t i = 0; i < count_kinds; ++i) after.values[i] -= before.values[i];
    return after;
  }
  std::uint64_t broken() const {
    std::uint64_t sum = 0;
    for (const Count kind : broken_kinds) sum += (*this)[kind];
    return sum;
  }
  // Stamped packets that never came back; to be asked when nothing is on its way any more.
  std::uint64_t lost() const {
    const std::uint64_t back = (*this)[Count::answers] + (*this)[Count::late];
    return (*this)[Count::requests] > back ? (*this)[Count::requests] - back : 0;
  }
};

// Counted in plain memory and shown to readers now and then: several counts change with every
// packet.
class Counts {
 public:
  void add(Count kind, std::uint64_t n = 1) { own_.values[static_cast<std::size_t>(kind)] += n; }
  void publish() {
    for (std::size_t i = 0; i < count_kinds; ++i) {
      shown_[i].store(own_.values[i], std::memory_order_relaxed);
    }
  }
  const CountsSeen& own() const { return own_; }  // for the writer
  CountsSeen read() const {                       // as last published
    CountsSeen seen;
    for (std::size_t i = 0; i < count_kinds; ++i) {
      seen.values[i] = shown_[i].load(std::memory_order_relaxed);
    }
    return seen;
  }

 private:
  CountsSeen own_;
  std::array<std::atomic<std::uint64_t>, count_kinds> shown_{};
};

}  // namespace sluice::perf
