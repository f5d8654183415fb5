// What the maps of our two programs in the kernel should hold, and the steps from what they hold to that. Pure: the
// system calls are in ours_maps.h.
//
// Order of a change: first everything new is added, then what is gone is removed, so that no address that
// stays is missing for a moment.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/tables/snapshot.h"

namespace sluice {

// The keys of the maps, byte for byte as ours.bpf.h declares them: an address, and this.
struct XdpSourceKey {
  IpAddress address;
  std::uint16_t port = 0;  // as on the wire
  std::uint8_t protocol = 0;
  std::uint8_t is_any_port = 0;  // with port 0: whatever port it replies from
  std::uint32_t tail = 0;  // not part of the map's key: see xdp_source_key_bytes
  friend auto operator<=>(const XdpSourceKey&, const XdpSourceKey&) = default;
};
inline constexpr std::size_t xdp_source_key_bytes = 20;

// The key of the tries: blocked sources, networks of VIPs.
struct XdpPrefixKey {
  std::uint32_t bits = 0;  // of the 128-bit form
  std::array<std::uint8_t, 16> bytes{};
  friend auto operator<=>(const XdpPrefixKey&, const XdpPrefixKey&) = default;
};
static_assert(sizeof(XdpPrefixKey) == 20);

// Sorted, without duplicates.
struct XdpContent {
  std::vector<IpAddress> addresses;    // VIPs, SNAT addresses, the box's own
  std::vector<XdpPrefixKey> networks;  // all of whose addresses are VIPs
  std::vector<XdpSourceKey> sources;   // whose packets are replies of a NAT-mode cluster
  std::vector<XdpPrefixKey> blocked;   // sources that are dropped
  std::vector<IpAddress> host;         // addresses of the host's kernel: what goes there is no reply of ours
};

// `host` is left to the caller.
XdpContent xdp_content_of(const Snapshot& tables);

template <class Key>
struct XdpChange {
  std::vector<Key> add;
  std::vector<Key> remove;
};

// Both sorted.
XdpChange<IpAddress> xdp_change(const std::vector<IpAddress>& from, const std::vector<IpAddress>& to);
XdpChange<XdpPrefixKey> xdp_change(const std::vector<XdpPrefixKey>& from, const std::vector<XdpPrefixKey>& to);
XdpChange<XdpSourceKey> xdp_change(const std::vector<XdpSourceKey>& from, const std::vector<XdpSourceKey>& to);

}  // namespace sluice
