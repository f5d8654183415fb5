#include "mgmt/shell/quantity.h"

#include <fmt/core.h>

#include <array>
#include <string_view>

namespace sluice {
namespace {

// `value` in units of `base`, with three significant digits and the unit it ends up in. Rounds
// down: a counter never shows more than happened, and 999,999 does not become "1000k".
template <std::size_t N>
std::string scaled(std::uint64_t value, std::uint64_t base,
                   const std::array<std::string_view, N>& units) {
  std::uint64_t divisor = base;
  std::size_t unit = 0;
  while (unit + 1 < units.size() && value / divisor >= base) {
    divisor *= base;
    ++unit;
  }
  const std::uint64_t whole = value / divisor;
  const auto fraction = static_cast<double>(value % divisor) / static_cast<double>(divisor);
  if (whole >= 100) return fmt::format("{}{}", whole, units[unit]);
  if (whole >= 10) {
    return fmt::format("{}.{}{}", whole, static_cast<int>(fraction * 10), units[unit]);
  }
  return fmt::format("{}.{:02}{}", whole, static_cast<int>(fraction * 100), units[unit]);
}

}  // namespace

std::string format_count(std::uint64_t count) {
  if (count < 10'000) return fmt::format("{}", count);
  return scaled(count, 1000, std::array<std::string_view, 5>{"k", "M", "G", "T", "P"});
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  return scaled(bytes, 1024,
                std::array<std::string_view, 5>{" KiB", " MiB", " GiB", " TiB", " PiB"});
}

std::string format_duration(std::uint64_t milliseconds) {
  if (milliseconds < 1000) return fmt::format("{}ms", milliseconds);
  if (milliseconds < 10'000) {
    return fmt::format("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100);
  }
  const std::uint64_t seconds = milliseconds / 1000;
  if (seconds < 60) return fmt::format("{}s", seconds);
  const std::uint64_t minutes = seconds / 60;
  if (minutes < 60) return fmt::format("{}m{:02}s", minutes, seconds % 60);
  const std::uint64_t hours = minutes / 60;
  if (hours < 24) return fmt::format("{}h{:02}m", hours, minutes % 60);
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

}  // namespace sluice
