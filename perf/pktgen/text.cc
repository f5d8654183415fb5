#include "perf/pktgen/text.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <string>

#include "perf/common/frame.h"

namespace sluice::perf {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// The last 64 bits of an address as a number, and back.
std::uint64_t number_of(const IpAddress& address) {
  return __builtin_bswap64(address.low);
}
IpAddress with_number(IpAddress address, std::uint64_t number) {
  address.low = __builtin_bswap64(number);
  return address;
}

}  // namespace

Result<double> parse_number(std::string_view text) {
  std::string_view digits = text;
  double factor = 1;
  if (take_suffix(digits, "k") || take_suffix(digits, "K")) {
    factor = 1e3;
  } else if (take_suffix(digits, "M")) {
    factor = 1e6;
  } else if (take_suffix(digits, "G")) {
    factor = 1e9;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value,
                                            std::chars_format::fixed);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty() || value < 0) {
    return fail(fmt::format("'{}' is no number; write 1000, 64k, 1.5M or 2G", text));
  }
  return value * factor;
}

Result<std::uint32_t> parse_count(std::string_view text, std::uint32_t least, std::uint32_t most) {
  const auto number = parse_number(text);
  if (!number) return tl::unexpected(number.error());
  if (*number != std::floor(*number)) return fail(fmt::format("'{}' is not a whole number", text));
  if (*number < least || *number > most) {
    return fail(fmt::format("{} is outside of {} to {}", text, least, most));
  }
  return static_cast<std::uint32_t>(*number);
}

double Rate::packets_per_second(double frame_bytes) const {
  switch (unit) {
    case Unit::unlimited:
      return INFINITY;
    case Unit::packets:
      return value;
    case Unit::bits:
      return value / 8 / (frame_bytes + wire_overhead_bytes);
  }
  return 0;
}

Result<Rate> parse_rate(std::string_view text) {
  if (text == "max") return Rate{};
  std::string_view digits = text;
  const bool is_bits = take_suffix(digits, "bit");
  const auto number = parse_number(digits);
  if (!number || *number == 0) {
    return fail(fmt::format(
        "rate '{}': write packets per second (1.5M), bits on the wire (2Gbit), or max", text));
  }
  return Rate{is_bits ? Rate::Unit::bits : Rate::Unit::packets, *number};
}

std::vector<double> Ramp::rates() const {
  std::vector<double> rates;
  const auto steps = static_cast<int>(std::floor((to - from) / step + 1e-9));
  for (int i = 0; i <= steps; ++i) rates.push_back(from + i * step);
  if (rates.back() < to * (1 - 1e-9)) rates.push_back(to);
  return rates;
}

Result<Ramp> parse_ramp(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(fmt::format("ramp '{}': {}; write FROM:TO:STEP[:SECONDS], as in 100k:1M:100k:5",
                            text, why));
  };
  const auto parts = split(text, ':');
  if (parts.size() != 3 && parts.size() != 4) return refuse("three or four numbers are wanted");
  double values[4] = {0, 0, 0, 5};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto number = parse_number(parts[i]);
    if (!number) return refuse(number.error().message);
    values[i] = *number;
  }
  const Ramp ramp{values[0], values[1], values[2], values[3]};
  if (ramp.from <= 0 || ramp.step <= 0 || ramp.seconds <= 0)
    return refuse("zero is no rate, step or time");
  if (ramp.to < ramp.from) return refuse("it must not fall");
  if ((ramp.to - ramp.from) / ramp.step > 1'000) return refuse("more than 1,000 steps");
  return ramp;
}

Result<Distribution> parse_distribution(std::string_view text) {
  const auto parts = split(text, ':');
  if (text == "uniform") return Distribution{};
  if (parts.size() == 2 && (parts[0] == "zipf" || parts[0] == "churn")) {
    const auto number = parse_number(parts[1]);
    if (!number) return tl::unexpected(number.error());
    if (parts[0] == "zipf" && *number > 0 && *number <= 5) {
      return Distribution{Distribution::Kind::zipf, *number, 0};
    }
    if (parts[0] == "churn" && *number > 0) {
      return Distribution{Distribution::Kind::churn, 0, *number};
    }
  }
  return fail(fmt::format(
      "distribution '{}': write uniform, zipf:S (S above 0, at most 5) or churn:R (R new flows "
      "per second)",
      text));
}

Result<std::vector<Size>> parse_sizes(std::string_view text) {
  if (text == "imix") return std::vector<Size>{{64, 7}, {594, 4}, {1'518, 1}};
  std::vector<Size> sizes;
  for (const std::string_view part : split(text, ',')) {
    const auto halves = split(part, 'x');
    const auto bytes = parse_count(halves[0], size_least, size_most);
    if (!bytes) return fail(fmt::format("size '{}': {}", text, bytes.error().message));
    Size size{static_cast<std::uint16_t>(*bytes), 1};
    if (halves.size() == 2) {
      const auto weight = parse_count(halves[1], 1, 1'000);
      if (!weight) return fail(fmt::format("size '{}': weight: {}", text, weight.error().message));
      size.weight = *weight;
    } else if (halves.size() > 2) {
      return fail(fmt::format("size '{}': write 64, 64,512,1518 or 64x7,594x4,1518x1", text));
    }
    sizes.push_back(size);
  }
  return sizes;
}

Result<AddressPort> parse_address_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const auto refuse = [&](std::string_view why) {
    return fail(fmt::format("'{}': {}; write 10.9.0.1:80 or [fd00::1]:80", text, why));
  };
  if (colon == std::string_view::npos) return refuse("a port is wanted");
  std::string_view host = text.substr(0, colon);
  const bool is_bracketed = host.starts_with('[') && host.ends_with(']');
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  if (!address || is_bracketed == address->is_v4()) return refuse("no IP address");
  const auto port = parse_count(text.substr(colon + 1), 1, 65'535);
  if (!port) return refuse(port.error().message);
  return AddressPort{*address, static_cast<std::uint16_t>(*port)};
}

IpAddress AddressRange::at(std::uint32_t index) const {
  return with_number(first, number_of(first) + index);
}

std::uint32_t AddressRange::index_of(const IpAddress& address) const {
  if (address.high != first.high) return count;
  const std::uint64_t distance = number_of(address) - number_of(first);
  return distance < count ? static_cast<std::uint32_t>(distance) : count;
}

Result<AddressRange> parse_address_range(std::string_view text) {
  const auto parts = split(text, '+');
  const auto address = IpAddress::parse(parts[0]);
  if (!address || parts.size() > 2) {
    return fail(
        fmt::format("'{}': write an address, or an address and how many: 198.18.0.1+254", text));
  }
  AddressRange range{*address, 1};
  if (parts.size() == 2) {
    const auto count = parse_count(parts[1], 1, 1u << 24);
    if (!count) return fail(fmt::format("'{}': {}", text, count.error().message));
    range.count = *count;
  }
  const IpAddress last = range.at(range.count - 1);
  if (last.is_v4() != address->is_v4() || number_of(last) < number_of(*address)) {
    return fail(fmt::format("'{}': goes beyond the last address there is", text));
  }
  return range;
}

Result<PortSpan> parse_port_span(std::string_view text) {
  const auto parts = split(text, '-');
  const auto refuse = [&] {
    return fail(fmt::format("'{}': write first and last port: 1024-65535", text));
  };
  if (parts.size() != 2) return refuse();
  const auto first = parse_count(parts[0], 1, 65'535), last = parse_count(parts[1], 1, 65'535);
  if (!first || !last || *last < *first) return refuse();
  return PortSpan{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

}  // namespace sluice::perf
