// The small languages of the command line: numbers with units, distributions, sizes, ramps. Pure.
// Errors say what stands there, what is wrong with it, and what would be right.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/address.h"

namespace sluice::perf {

// "1000", "64k", "1.5M", "2G": decimal multiples.
Result<double> parse_number(std::string_view text);
inline constexpr double count_max = 4e9;
Result<std::uint32_t> parse_count(std::string_view text, std::uint32_t least, std::uint32_t most);

// Packets per second ("1.5M", "max") or bits per second on the wire ("2Gbit"), preamble and gap
// included.
struct Rate {
  enum class Unit : std::uint8_t { unlimited, packets, bits } unit = Unit::unlimited;
  double value = 0;
  // For frames of this size on average, FCS included.
  double packets_per_second(double frame_bytes) const;
};
Result<Rate> parse_rate(std::string_view text);

// "FROM:TO:STEP" or "FROM:TO:STEP:SECONDS" in packets per second.
struct Ramp {
  double from = 0, to = 0, step = 0;
  double seconds = 5;
  std::vector<double> rates() const;  // both ends included
};
Result<Ramp> parse_ramp(std::string_view text);

// Which flow the next packet belongs to.
struct Distribution {
  enum class Kind : std::uint8_t { uniform, zipf, churn } kind = Kind::uniform;
  double exponent = 0;   // zipf
  double new_flows = 0;  // churn: this many flows per second are replaced by new ones
};
Result<Distribution> parse_distribution(std::string_view text);

// Frame sizes, FCS included, as RFC 2544 counts them, each with its share of the packets.
struct Size {
  std::uint16_t bytes = 64;
  std::uint32_t weight = 1;
  friend bool operator==(const Size&, const Size&) = default;
};
inline constexpr std::uint16_t size_least = 64, size_most = 9'000;
// "64", "64,512,1518" (equal shares), "64x7,594x4,1518x1", "imix" (which is the one before).
Result<std::vector<Size>> parse_sizes(std::string_view text);

// "10.9.0.1:80", "[fd00::1]:80".
struct AddressPort {
  IpAddress address;
  std::uint16_t port = 0;
};
Result<AddressPort> parse_address_port(std::string_view text);

// "198.18.0.1+254": an address and those that follow it; without a count, the one.
struct AddressRange {
  IpAddress first;
  std::uint32_t count = 1;

  IpAddress at(std::uint32_t index) const;
  // Where the address stands in the range; `count` when outside.
  std::uint32_t index_of(const IpAddress& address) const;
};
Result<AddressRange> parse_address_range(std::string_view text);

struct PortSpan {
  std::uint16_t first = 1'024, last = 65'535;  // both included
  std::uint32_t count() const { return last - first + 1u; }
};
Result<PortSpan> parse_port_span(std::string_view text);

}  // namespace sluice::perf
