// Stamp: what the first bytes of a payload say. Six bytes, all that a 64-byte TCP frame has room
// for. The rest of a payload is zero. What comes back carries the stamp that was sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::perf {

inline constexpr std::size_t stamp_bytes = 6;

struct Stamp {
  std::uint16_t number = 0;  // of the packet within its flow, modulo 2^16
  std::uint32_t time = 0;    // TSC >> stamp_shift, modulo 2^32: half a minute at 2 GHz

  void write(std::byte* payload) const {
    std::memcpy(payload, &number, 2);
    std::memcpy(payload + 2, &time, 4);
  }
  static Stamp read(const std::byte* payload) {
    Stamp stamp;
    std::memcpy(&stamp.number, payload, 2);
    std::memcpy(&stamp.time, payload + 2, 4);
    return stamp;
  }
};

inline constexpr unsigned stamp_shift = 4;
inline std::uint32_t stamp_time(std::uint64_t tsc) {
  return static_cast<std::uint32_t>(tsc >> stamp_shift);
}

// What one flow's packets tell when they come back: in order, late, again. RFC 4737's definition of
// reordering: a packet is reordered when one with a higher number came before it.
class Arrivals {
 public:
  void expect_from(std::uint16_t number) { next_ = number; }
  // True when the packet is reordered (or came twice).
  bool arrived(std::uint16_t number) {
    const auto ahead = static_cast<std::int16_t>(number - next_);
    if (ahead < 0) return true;
    next_ = static_cast<std::uint16_t>(number + 1);
    return false;
  }

 private:
  std::uint16_t next_ = 0;
};

}  // namespace sluice::perf
