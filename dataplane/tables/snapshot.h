// Snapshot: the published tables, read-only, as every lcore sees them.
//
// Holding one proves that the bytes were verified: header, CRC, section bounds and every index of
// one row into another; and that the databases of expressions could be loaded. Lookups therefore check nothing.
// Ownership: views the bytes it was given; they must outlive it (the mapping of a sealed memfd).
// Threads:   immutable; any number of readers.
// Errors:    verify() says what is wrong and with which row; the caller keeps the snapshot it has.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/base/siphash.h"
#include "dataplane/net/client_hello.h"
#include "dataplane/net/name_patterns.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

// Position of a key in the open-addressed indexes; the writer and the reader share it. One multiplication, for packets without
// a flow pay for three of them; it scatters addresses of one network, and whoever aims at a place finds configuration there.
inline std::uint64_t index_hash(IpAddress address) {
  return fold(address.high ^ 0x2d358dccaa6c78a5ull, address.low ^ 0x8bb84b93962eacc9ull);
}
// Who has looked up the address already pays only for the rest.
inline std::uint64_t index_hash(IpAddress address, Be16 port, std::uint8_t protocol = 0) {
  const std::uint64_t rest = static_cast<std::uint64_t>(protocol) << 16 | port.raw;
  return index_hash(address) + (rest * 0xa0761d6478bd642full >> 32);
}

inline std::uint64_t name_hash(std::uint32_t listener, std::string_view name) {
  return siphash({0x8bb84b93962eacc9ull, listener}, std::as_bytes(std::span(name)));
}

inline std::uint64_t network_hash(IpAddress network, std::uint8_t prefix_length) { return index_hash(network, {}, prefix_length); }

// What an address is to us. `index` as in AddressIndexRow.
struct OwnAddress {
  AddressKind kind = AddressKind::none;
  std::uint32_t index = no_row;
};

class Snapshot {
 public:
  static Result<Snapshot> verify(std::span<const std::byte> bytes);

  std::uint64_t generation() const { return header_->generation; }
  std::span<const std::byte> bytes() const { return bytes_; }

  const NodeRow& node() const { return section<NodeRow>(Section::node)[0]; }
  std::span<const PortRow> ports() const { return section<PortRow>(Section::ports); }
  std::span<const AddressRow> addresses() const { return section<AddressRow>(Section::addresses); }
  std::span<const RouteRow> routes() const { return section<RouteRow>(Section::routes); }
  std::span<const SnatPoolRow> snat_pools() const { return section<SnatPoolRow>(Section::snat_pools); }
  std::span<const IpAddress> snat_addresses() const { return section<IpAddress>(Section::snat_addresses); }
  std::span<const VipRow> vips() const { return section<VipRow>(Section::vips); }
  std::span<const ClusterRow> clusters() const { return section<ClusterRow>(Section::clusters); }
  std::span<const EndpointRow> endpoints() const { return section<EndpointRow>(Section::endpoints); }
  std::string_view name(NameRef ref) const;
  std::span<const BlockedRow> blocked() const { return section<BlockedRow>(Section::blocked); }
  bool is_blocked(IpAddress source) const {
    const std::uint32_t table = node().blocklist;
    return table != 0 && prefix_table(prefix_tables()[table - 1]).value_of(source) != 0;
  }
  // Whether clients of the VIP may come from there: where a PROXY header is believed, its proxies alone.
  bool trusts(const VipRow& vip, IpAddress source) const {
    return vip.proxies == 0 || prefix_table(prefix_tables()[vip.proxies - 1u]).value_of(source) != 0;
  }
  // Nothing when no VIP has limits.
  std::span<const VipLimitsRow> vip_limits() const { return section<VipLimitsRow>(Section::vip_limits); }
  // nullptr when there are none at all.
  const VipLimitsRow* limits_of(const VipRow& vip) const {
    const auto limits = vip_limits();
    return limits.empty() ? nullptr : &limits[static_cast<std::size_t>(&vip - vips().data())];
  }
  std::span<const PrefixTableRow> prefix_tables() const { return section<PrefixTableRow>(Section::prefix_tables); }
  PrefixTable prefix_table(const PrefixTableRow& row) const {
    return {&row,
            section<std::uint32_t>(Section::prefix_roots).subspan(row.first_root, row.root_count_v4 + row.root_count_v6),
            section<PrefixNode>(Section::prefix_nodes).subspan(row.first_node, row.node_count)};
  }

  std::span<const EndpointRow> endpoints_of(const ClusterRow& cluster) const {
    return endpoints().subspan(cluster.first_endpoint, cluster.endpoint_count);
  }
  // Where a client that asked for port `asked` is sent to.
  Be16 port_of(const EndpointRow& endpoint, Be16 asked) const {
    return clusters()[endpoint.cluster].is_lb_port != 0 ? asked : endpoint.port;
  }
  // Each slot is an index into endpoints_of(cluster).
  std::span<const std::uint16_t> slots_of(const ClusterRow& cluster) const {
    return section<std::uint16_t>(Section::slots).subspan(cluster.first_slot, cluster.slot_count);
  }

  // The exact VIP; else of the longest prefix, in which somebody takes the port, the single port before the range before all.
  const VipRow* find_vip(IpAddress address, Be16 port, std::uint8_t protocol) const;
  // Whether the VIP is meant for this address and port, if no more exact one is. What a flow that it has goes by.
  bool covers(const VipRow& vip, IpAddress address, Be16 port) const;
  std::vector<PortRange> ports_of(const VipRow& vip) const;  // in rising order
  std::string vip_text(const VipRow& vip) const;             // "10.9.0.1:80,8080-8191/tcp"
  // Where a client that said `hello` to an is_peeking row wants to go: the exact name, then the longest suffix, then the first
  // regular expression, then the default. Of rows for one name the first whose ALPN the client offers, else the one for all;
  // an expression counts for clients that offer its ALPN. nullptr: nowhere. Each lcore has memory of its own to match in.
  const VipRow* find_by_hello(const VipRow& listener, const ClientHello& hello, std::uint32_t lcore) const;
  const VipRow* vip_by_id(std::uint32_t id) const;            // nullptr when it is gone
  const EndpointRow* endpoint_by_id(std::uint32_t id) const;  // nullptr when it is gone
  OwnAddress find_address(IpAddress address) const;           // kind none: not ours
  // Addresses of VIPs, SNAT addresses and the box's own, to be announced; of a network of VIPs the first 256.
  std::vector<IpAddress> local_addresses() const;
  bool answers_for(IpAddress address, std::uint16_t port) const;  // ARP and ND: own addresses on their port only
  const EndpointRow* find_quic_server(std::uint32_t cluster, std::span<const std::byte> server_id) const;  // or nullptr
  // Who answers from there for a VIP with is_one_packet; nullptr: nobody.
  const ReturnIndexRow* find_one_packet_return(IpAddress address, Be16 port, std::uint8_t protocol) const;
  bool is_return_source(IpAddress address, Be16 port, std::uint8_t protocol) const;
  const RouteRow* find_route(IpAddress destination) const;    // longest prefix; nullptr: no route
  // The box's own address from which to ask for `neighbor` on `port`; any of the family when none shares
  // its network, nullptr when the port has none.
  const AddressRow* source_for(IpAddress neighbor, std::uint16_t port) const;

 private:
  template <class Row>
  std::span<const Row> section(Section id) const {
    const SectionPlace& place = places_[static_cast<std::size_t>(id)];
    return {static_cast<const Row*>(place.rows), place.row_count};
  }
  Result<void> verify_rows() const;
  Result<void> verify_prefix_tables() const;
  Result<void> verify_vip_networks() const;
  Result<void> verify_route_index() const;
  std::span<const std::uint8_t> route_lengths() const { return section<std::uint8_t>(Section::route_lengths); }
  const RouteRow* find_route_to(IpAddress network, std::uint8_t prefix_length) const;
  std::span<const VipRangeRow> vip_ranges() const { return section<VipRangeRow>(Section::vip_ranges); }
  std::span<const std::uint8_t> vip_lengths() const { return section<std::uint8_t>(Section::vip_lengths); }
  bool has_vip_prefixes() const { return !vip_lengths().empty() && vip_lengths().back() < 128; }
  const ReturnIndexRow* find_return(IpAddress address, Be16 port, std::uint8_t protocol) const;
  const VipNetworkRow* find_vip_network(IpAddress network, std::uint8_t prefix_length) const;
  const VipRow* find_wide_vip(IpAddress address, Be16 port, std::uint8_t protocol) const;
  OwnAddress find_address_in_prefixes(IpAddress address) const;
  Result<void> load_name_patterns();
  const VipRow* find_named(std::uint32_t listener, std::string_view name, bool is_suffix, const ClientHello& hello) const;
  const VipRow* find_by_pattern(std::uint32_t listener, const ClientHello& hello, std::uint32_t lcore) const;

  struct SectionPlace {
    const void* rows;
    std::size_t row_count;
  };
  // What is made of the bytes when they are verified.
  struct LoadedPatterns {
    std::vector<NamePatterns> sets;         // one for each row
    std::vector<PatternScratch> scratches;  // by lcore
  };

  std::span<const std::byte> bytes_;
  const SnapshotHeader* header_ = nullptr;
  // Where the entries of the header say: lookups follow one another, and each would begin with three loads more.
  std::array<SectionPlace, static_cast<std::size_t>(Section::count)> places_{};
  std::shared_ptr<const LoadedPatterns> patterns_;  // nullptr: there are no expressions
};

// What every packet without a flow asks, inlined into the stage that asks it.

inline const VipRow* Snapshot::find_vip(IpAddress address, Be16 port, std::uint8_t protocol) const {
  const auto index = section<std::uint32_t>(Section::vip_index);
  for (std::uint64_t place = index_hash(address, port, protocol);; ++place) {
    const std::uint32_t row = index[place & (index.size() - 1)];
    if (row == no_row) return vip_lengths().empty() ? nullptr : find_wide_vip(address, port, protocol);
    const VipRow& vip = vips()[row];
    if (vip.address == address && vip.port == port && vip.protocol == protocol) return &vip;
  }
}

inline OwnAddress Snapshot::find_address(IpAddress address) const {
  const auto index = section<AddressIndexRow>(Section::address_index);
  for (std::uint64_t place = index_hash(address);; ++place) {
    const AddressIndexRow& row = index[place & (index.size() - 1)];
    if (row.kind != AddressKind::none && row.address != address) continue;
    if (row.kind == AddressKind::none && has_vip_prefixes()) [[unlikely]] return find_address_in_prefixes(address);
    return {row.kind, row.index};
  }
}

}  // namespace sluice
