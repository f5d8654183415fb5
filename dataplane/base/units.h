// Units as types. Time on the packet path is milliseconds of CLOCK_MONOTONIC, read once per burst
// and passed down as an argument, so that tests can run it by hand.
#pragma once

#include <compare>
#include <cstdint>

namespace sluice {

struct Milliseconds {
  std::uint64_t count = 0;
  friend constexpr auto operator<=>(Milliseconds, Milliseconds) = default;
  friend constexpr Milliseconds operator+(Milliseconds a, Milliseconds b) { return {a.count + b.count}; }
  friend constexpr Milliseconds operator-(Milliseconds a, Milliseconds b) { return {a.count - b.count}; }
};

// A moment on CLOCK_MONOTONIC.
struct Instant {
  std::uint64_t ms = 0;
  // The low 32 bits, for records that must stay small. They wrap after 49 days; ages are computed
  // with ms_since(), which is right across the wrap as long as nothing is older than 49 days.
  constexpr std::uint32_t stamp() const { return static_cast<std::uint32_t>(ms); }
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Milliseconds b) { return {a.ms + b.count}; }
};

constexpr std::uint32_t ms_since(std::uint32_t stamp, Instant now) { return now.stamp() - stamp; }

}  // namespace sluice
