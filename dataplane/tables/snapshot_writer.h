// SnapshotWriter: rows in, snapshot bytes out, indexes and CRC included.
//
// mgmt's compile fills it with content; tests build small worlds with it. The same calls in the same
// order give the same bytes. Limits and references are checked by Snapshot::verify, to which finish()
// submits what it wrote: a snapshot that leaves here can be read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

// Snapshot bytes, aligned as verify() demands.
class SnapshotBuffer {
 public:
  explicit SnapshotBuffer(std::size_t bytes) : storage_((bytes + 63) / 64), bytes_(bytes) {}
  std::span<std::byte> bytes() { return {reinterpret_cast<std::byte*>(storage_.data()), bytes_}; }
  std::span<const std::byte> bytes() const {
    return {reinterpret_cast<const std::byte*>(storage_.data()), bytes_};
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> storage_;
  std::size_t bytes_;
};

class SnapshotWriter {
 public:
  NameRef name(std::string_view text);  // the same text is stored once

  NodeRow node{};
  std::uint32_t add(const PortRow& row) { return append(ports_, row); }
  std::uint32_t add(const AddressRow& row) { return append(addresses_, row); }
  void add(const RouteRow& row) { routes_.push_back(row); }  // in any order
  // IPv4 and IPv6 addresses in any order; returns the pool's row.
  std::uint32_t add_snat_pool(std::string_view pool_name, std::span<const IpAddress> pool_addresses,
                              std::uint16_t port_first, std::uint16_t port_last);
  std::uint32_t add(const VipRow& row) { return append(vips_, row); }
  // One more of the ports of a VIP with VipPorts::ranges.
  void add_ports(std::uint32_t vip, PortRange ports) { vip_ranges_.push_back({ports, vip}); }
  // Of the VIP added last.
  void add_limits(VipLimitsRow row);
  std::uint32_t add(const PrefixTableParts& table);
  // A server name that leads from one row of VIPs to another: "a.example", or "*.example" for what ends so.
  void add_server_name(std::uint32_t listener, std::string_view server_name, std::string_view alpn, std::uint32_t vip);
  // Regular expressions that lead from one row of VIPs to others, and the database that build_name_patterns() made of them.
  // Once for a listener.
  struct NamePattern {
    std::string expression;
    std::string alpn;  // protocols, written as in RFC 7301 3.1; empty: for all
    std::uint32_t vip = 0;
  };
  void add_name_patterns(std::uint32_t listener, std::span<const NamePattern> patterns, std::span<const std::byte> database);
  // The longest of those that share a listener counts: it is not known yet which of them a client wants.
  void raise_hello_timeout(std::uint32_t listener, std::uint32_t ms) {
    vips_[listener].hello_timeout_ms = std::max(vips_[listener].hello_timeout_ms, ms);
  }
  void set_default_vip(std::uint32_t listener, std::uint32_t vip) { vips_[listener].default_vip = vip; }
  // Sources that are dropped on every port; once.
  void set_blocklist(std::span<const IpPrefix> networks, const PrefixTableParts& table);
  // `endpoints`: cluster is filled in. `slots`: indexes into `endpoints`.
  std::uint32_t add_cluster(ClusterRow row, std::span<const EndpointRow> endpoints,
                            std::span<const std::uint16_t> slots);

  // The server ID that an endpoint (by its place in the cluster) writes into its connection IDs; at most 15 bytes.
  void add_quic_server(std::uint32_t cluster, std::uint32_t endpoint, std::string_view server_id);

  Result<SnapshotBuffer> finish(std::uint64_t generation);

 private:
  template <class Row>
  static std::uint32_t append(std::vector<Row>& rows, const Row& row) {
    rows.push_back(row);
    return static_cast<std::uint32_t>(rows.size() - 1);
  }
  void mark_families();
  std::vector<std::uint32_t> build_route_index() const;
  std::vector<std::uint32_t> build_vip_index() const;
  void build_vip_networks();
  std::vector<AddressIndexRow> build_address_index() const;
  std::vector<ReturnIndexRow> build_return_index() const;
  std::vector<ServerNameRow> build_server_name_index() const;
  std::vector<QuicServerRow> build_quic_server_index() const;

  std::vector<PortRow> ports_;
  std::vector<AddressRow> addresses_;
  std::vector<RouteRow> routes_;
  std::vector<SnatPoolRow> snat_pools_;
  std::vector<IpAddress> snat_addresses_;
  std::vector<VipRow> vips_;
  std::vector<ClusterRow> clusters_;
  std::vector<EndpointRow> endpoints_;
  std::vector<std::uint16_t> slots_;
  std::vector<VipLimitsRow> vip_limits_;
  std::vector<PrefixTableRow> prefix_tables_;
  std::vector<std::uint32_t> prefix_roots_;
  std::vector<PrefixNode> prefix_nodes_;
  std::vector<ServerNameRow> server_names_;
  std::vector<QuicServerRow> quic_servers_;
  std::vector<VipRangeRow> vip_ranges_;  // as they are added; then in the order of the snapshot
  std::vector<VipNetworkRow> vip_network_index_;
  std::vector<std::uint8_t> vip_lengths_;
  std::vector<NamePatternSetRow> name_pattern_sets_;
  std::vector<NamePatternRow> name_patterns_;
  std::vector<std::byte> name_pattern_bytes_;
  std::vector<BlockedRow> blocked_;
  std::string names_;
  std::unordered_map<std::string, NameRef> known_names_;
};

}  // namespace sluice
