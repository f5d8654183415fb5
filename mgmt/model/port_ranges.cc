#include "mgmt/model/port_ranges.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace sluice {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

Result<PortRange> parse_item(std::string_view item) {
  const std::size_t dash = item.find('-');
  const auto first = parse_port(trimmed(item.substr(0, dash)));
  const auto last = dash == std::string_view::npos ? first : parse_port(trimmed(item.substr(dash + 1)));
  if (!first || !last) return fail(fmt::format("'{}' is neither a port from 1 to 65535 nor a range of them", item.substr(0, 40)));
  if (*first > *last) return fail(fmt::format("'{}' is a range that ends before it begins", item));
  return PortRange{*first, *last};
}

}  // namespace

Result<std::vector<PortRange>> parse_port_ranges(std::string_view text) {
  std::vector<PortRange> ranges;
  std::size_t count = 0;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const auto item = parse_item(trimmed(text.substr(at, comma - at)));
    if (!item) return tl::unexpected(item.error());
    const std::string written = ports_text(std::span(&*item, 1));
    const auto other = std::find_if(ranges.begin(), ranges.end(), [&](const PortRange& known) {
      return known.first <= item->last && item->first <= known.last;
    });
    if (other != ranges.end()) {
      return fail(fmt::format("'{}' overlaps '{}'", written, ports_text(std::span(&*other, 1))));
    }
    count += item->last - item->first + 1u;
    if (count > ports_listed_max) {
      return fail(fmt::format("with '{}' the list has {} ports, at most {} are allowed", written, count, ports_listed_max));
    }
    ranges.push_back(*item);
    at = comma + 1;
  }
  std::sort(ranges.begin(), ranges.end(), [](const PortRange& a, const PortRange& b) { return a.first < b.first; });
  return ranges;
}

}  // namespace sluice
