#include "dataplane/net/address.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <charconv>

namespace sluice {

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char terminated[INET6_ADDRSTRLEN] = {};  // what does not fit is no address
  if (text.size() >= sizeof terminated || text.find('\0') != std::string_view::npos) return std::nullopt;
  text.copy(terminated, text.size());
  in_addr four{};
  if (inet_pton(AF_INET, terminated, &four) == 1) return v4(Be32{four.s_addr});
  in6_addr six{};
  if (inet_pton(AF_INET6, terminated, &six) == 1) return v6(&six);
  return std::nullopt;
}

std::string IpAddress::text() const {
  char buffer[INET6_ADDRSTRLEN];
  const auto copy = bytes();
  if (is_v4()) {
    inet_ntop(AF_INET, copy.data() + 12, buffer, sizeof buffer);
  } else {
    inet_ntop(AF_INET6, copy.data(), buffer, sizeof buffer);
  }
  return buffer;
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  const unsigned bits_max = address->is_v4() ? 32 : 128;
  unsigned bits = bits_max;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.empty() || bits > bits_max) {
      return std::nullopt;
    }
  }
  return of(*address, static_cast<std::uint8_t>(bits + 128 - bits_max));
}

std::string IpPrefix::text() const {
  return fmt::format("{}/{}", network.text(), is_v4() ? length - 96 : length);
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac{};
  if (text.size() != 17) return std::nullopt;
  for (std::size_t i = 0; i < 6; ++i) {
    const char* first = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(first, first + 2, mac.bytes[i], 16);
    if (error != std::errc() || end != first + 2) return std::nullopt;
    if (i < 5 && first[2] != ':') return std::nullopt;
  }
  return mac;
}

std::string MacAddress::text() const {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                     bytes[5]);
}

std::string address_port_text(IpAddress address, Be16 port) {
  return address.is_v4() ? fmt::format("{}:{}", address.text(), port.host())
                         : fmt::format("[{}]:{}", address.text(), port.host());
}

}  // namespace sluice
