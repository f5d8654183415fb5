#include "dataplane/net/syn_cookie.h"

namespace sluice {
namespace {

constexpr std::uint64_t period_ms = cookie_lifetime_ms / 2;
constexpr std::uint32_t no_window_scale = 15;
constexpr std::uint16_t mss_v4[4] = {536, 1'300, 1'440, 1'460};
constexpr std::uint16_t mss_v6[4] = {536, 1'220, 1'420, 1'440};

const std::uint16_t* mss_table(const FlowKey& key) { return key.source.is_v4() ? mss_v4 : mss_v6; }

std::uint32_t mac_of(SipKey secret, const FlowKey& key, std::uint32_t client_isn, std::uint64_t period, std::uint32_t low) {
  struct Input {
    IpAddress source, destination;
    Be16 source_port, destination_port;
    std::uint32_t client_isn;
    std::uint64_t period;
    std::uint64_t low;
  } const input{key.source, key.destination, key.source_port, key.destination_port, client_isn, period, low};
  static_assert(sizeof input == 56, "no padding");
  return static_cast<std::uint32_t>(siphash(secret, std::as_bytes(std::span(&input, 1)))) & 0xffffff00u;
}

}  // namespace

std::uint32_t make_cookie(SipKey secret, const FlowKey& key, std::uint32_t client_isn, const TcpOffer& offer, Instant now) {
  const std::uint64_t period = now.ms / period_ms;
  const std::uint16_t* table = mss_table(key);
  std::uint32_t mss = 3;
  while (mss > 0 && table[mss] > offer.mss) --mss;
  const std::uint32_t scale = offer.has_window_scale ? offer.window_scale : no_window_scale;
  const std::uint32_t low =
      static_cast<std::uint32_t>(period & 1) << 7 | static_cast<std::uint32_t>(offer.has_sack) << 6 | scale << 2 | mss;
  return mac_of(secret, key, client_isn, period, low) | low;
}

std::optional<TcpOffer> open_cookie(SipKey secret, const FlowKey& key, std::uint32_t client_isn, std::uint32_t cookie,
                                    Instant now) {
  const std::uint32_t low = cookie & 0xff;
  std::uint64_t period = now.ms / period_ms;
  if ((period & 1) != (low >> 7)) {
    if (period == 0) return std::nullopt;
    --period;
  }
  if (mac_of(secret, key, client_isn, period, low) != (cookie & 0xffffff00u)) return std::nullopt;
  TcpOffer offer;
  offer.mss = mss_table(key)[low & 3];
  const std::uint32_t scale = low >> 2 & 15;
  offer.has_window_scale = scale != no_window_scale;
  offer.window_scale = static_cast<std::uint8_t>(offer.has_window_scale ? scale : 0);
  offer.has_sack = (low >> 6 & 1) != 0;
  return offer;
}

}  // namespace sluice
