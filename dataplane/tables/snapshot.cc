#include "dataplane/tables/snapshot.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <functional>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

constexpr std::size_t section_count = static_cast<std::size_t>(Section::count);

struct SectionShape {
  const char* name;
  std::uint32_t row_bytes;
  std::uint64_t row_count_min;
  std::uint64_t row_count_max;
};

constexpr std::uint64_t any_count = snapshot_bytes_max;
constexpr std::uint64_t rate_interval_ns_max = 3'600'000'000'000, rate_burst_ns_max = 1'000 * rate_interval_ns_max;

constexpr SectionShape shapes[section_count] = {
    {"node", sizeof(NodeRow), 1, 1},
    {"ports", sizeof(PortRow), 0, ports_max},
    {"addresses", sizeof(AddressRow), 0, 4'096},
    {"routes", sizeof(RouteRow), 0, routes_max},
    {"snat_pools", sizeof(SnatPoolRow), 0, 4'096},
    {"snat_addresses", sizeof(IpAddress), 0, 65'536},
    {"vips", sizeof(VipRow), 0, vips_max},
    {"clusters", sizeof(ClusterRow), 0, 65'536},
    {"endpoints", sizeof(EndpointRow), 0, endpoints_max},
    {"slots", sizeof(std::uint16_t), 0, any_count},
    {"vip_index", sizeof(std::uint32_t), 2, any_count},
    {"address_index", sizeof(AddressIndexRow), 2, any_count},
    {"return_index", sizeof(ReturnIndexRow), 2, any_count},
    {"vip_rows_by_id", sizeof(std::uint32_t), 0, vips_max},
    {"endpoint_rows_by_id", sizeof(std::uint32_t), 0, endpoints_max},
    {"vip_limits", sizeof(VipLimitsRow), 0, vips_max},
    {"prefix_tables", sizeof(PrefixTableRow), 0, 65'536},
    {"prefix_roots", sizeof(std::uint32_t), 0, any_count},
    {"prefix_nodes", sizeof(PrefixNode), 0, any_count},
    {"blocked", sizeof(BlockedRow), 0, blocked_max},
    {"names", 1, 0, any_count},
    {"server_name_index", sizeof(ServerNameRow), 2, any_count},
    {"quic_server_index", sizeof(QuicServerRow), 2, any_count},
    {"vip_network_index", sizeof(VipNetworkRow), 2, any_count},
    {"vip_ranges", sizeof(VipRangeRow), 0, any_count},
    {"vip_lengths", sizeof(std::uint8_t), 0, 129},
    {"name_pattern_sets", sizeof(NamePatternSetRow), 0, vips_max},
    {"name_patterns", sizeof(NamePatternRow), 0, any_count},
    {"name_pattern_bytes", 1, 0, any_count},
    {"route_index", sizeof(std::uint32_t), 2, any_count},
    {"route_lengths", sizeof(std::uint8_t), 0, 129},
};

// Every probe of an open-addressed index ends at an empty place, so there must be one.
template <class Row, class IsEmpty>
bool is_probeable(std::span<const Row> index, IsEmpty is_empty) {
  return std::has_single_bit(index.size()) && std::any_of(index.begin(), index.end(), is_empty);
}

bool is_falling(std::span<const std::uint8_t> lengths) {
  return (lengths.empty() || lengths.front() <= 128) &&
         std::adjacent_find(lengths.begin(), lengths.end(), std::less_equal<>()) == lengths.end();
}

}  // namespace

Result<Snapshot> Snapshot::verify(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(SnapshotHeader)) {
    return fail(fmt::format("snapshot: {} bytes are too few for a header", bytes.size()));
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 64 != 0) return fail("snapshot: not aligned to 64 bytes");
  Snapshot snapshot;
  snapshot.bytes_ = bytes;
  snapshot.header_ = reinterpret_cast<const SnapshotHeader*>(bytes.data());
  const SnapshotHeader& header = *snapshot.header_;
  if (!std::equal(std::begin(snapshot_magic), std::end(snapshot_magic), header.magic)) {
    return fail("snapshot: wrong magic: these bytes are not a Sluice snapshot");
  }
  if (header.format != snapshot_format) {
    return fail(fmt::format("snapshot: format {} but this dataplane reads format {}; run mgmt and dataplane of one version",
                            header.format, snapshot_format));
  }
  if (header.total_bytes != bytes.size()) {
    return fail(fmt::format("snapshot: truncated: header says {} bytes, {} are here", header.total_bytes, bytes.size()));
  }
  SnapshotHeader without_crc = header;
  without_crc.crc = 0;
  const std::uint32_t crc =
      crc32c(bytes.subspan(sizeof(SnapshotHeader)), crc32c(std::as_bytes(std::span(&without_crc, 1))));
  if (crc != header.crc) {
    return fail(fmt::format("snapshot: damaged: CRC-32C is {:08x}, header says {:08x}", crc, header.crc));
  }

  if (header.section_count != section_count ||
      sizeof(SnapshotHeader) + section_count * sizeof(SectionEntry) > bytes.size()) {
    return fail(fmt::format("snapshot: {} sections, {} expected", header.section_count, section_count));
  }
  const auto* entries = reinterpret_cast<const SectionEntry*>(bytes.data() + sizeof(SnapshotHeader));
  for (std::size_t i = 0; i < section_count; ++i) {
    const SectionEntry& entry = entries[i];
    const SectionShape& shape = shapes[i];
    if (entry.section != i || entry.row_bytes != shape.row_bytes) {
      return fail(fmt::format("snapshot: section {}: rows of {} bytes, {} expected", shape.name, entry.row_bytes,
                              shape.row_bytes));
    }
    if (entry.row_count < shape.row_count_min || entry.row_count > shape.row_count_max) {
      return fail(fmt::format("snapshot: section {}: {} rows, allowed are {} to {}", shape.name, entry.row_count,
                              shape.row_count_min, shape.row_count_max));
    }
    if (entry.offset % 64 != 0 || entry.offset > bytes.size() ||
        entry.row_count > (bytes.size() - entry.offset) / shape.row_bytes) {
      return fail(fmt::format("snapshot: section {} lies outside of the snapshot", shape.name));
    }
    snapshot.places_[i] = {bytes.data() + entry.offset, entry.row_count};
  }
  if (auto rows = snapshot.verify_rows(); !rows) return tl::unexpected(rows.error());
  if (auto loaded = snapshot.load_name_patterns(); !loaded) return tl::unexpected(loaded.error());
  return snapshot;
}

Result<void> Snapshot::verify_rows() const {
  const auto bad = [](const char* section, std::size_t row, const char* what) {
    return fail(fmt::format("snapshot: section {}, row {}: {}", section, row, what));
  };
  const auto names = section<char>(Section::names);
  const auto is_name = [&](NameRef ref) {
    return ref.offset <= names.size() && ref.bytes <= names.size() - ref.offset;
  };

  const NodeRow& node_row = node();
  if (!is_name(node_row.name) || !is_name(node_row.exception_interface)) return bad("node", 0, "name out of bounds");
  if (node_row.worker_count == 0 || node_row.worker_count > workers_max) return bad("node", 0, "worker count");
  if (node_row.flow_capacity < node_row.worker_count || node_row.flow_capacity > (1ull << 31)) {
    return bad("node", 0, "flow capacity");
  }

  if (node_row.splice_capacity > node_row.flow_capacity) return bad("node", 0, "splice capacity");
  if (node_row.blocklist > prefix_tables().size()) return bad("node", 0, "no such blocklist");
  for (std::size_t i = 0; i < blocked().size(); ++i) {
    if (blocked()[i].length > 128) return bad("blocked", i, "prefix length");
  }

  for (std::size_t i = 0; i < ports().size(); ++i) {
    const PortRow& row = ports()[i];
    for (const NameRef ref : {row.name, row.profile, row.driver, row.device, row.eal_option, row.rss_key}) {
      if (!is_name(ref)) return bad("ports", i, "name out of bounds");
    }
    if (row.queue_count == 0 || row.queue_count > workers_max) return bad("ports", i, "queue count");
    if (row.mtu < 576 || row.mtu > 9'198) return bad("ports", i, "MTU");
    const std::string_view key = name(row.rss_key);
    if (key.size() % 2 != 0 || key.find_first_not_of("0123456789abcdefABCDEF") != key.npos) return bad("ports", i, "RSS key");
    if (row.vlan > vlan_id_max) return bad("ports", i, "VLAN id");
    if (row.is_sub_interface() && (row.parent >= ports().size() || ports()[row.parent].is_sub_interface())) {
      return bad("ports", i, "no such parent");
    }
  }
  const auto is_port = [&](std::uint16_t port) {
    return port < ports().size() || (port == exception_port && node_row.exception_interface.bytes > 0);
  };
  for (std::size_t i = 0; i < addresses().size(); ++i) {
    if (!is_port(addresses()[i].port)) return bad("addresses", i, "no such port");
    if (addresses()[i].prefix_length > 128) return bad("addresses", i, "prefix length");
  }
  for (std::size_t i = 0; i < routes().size(); ++i) {
    const RouteRow& row = routes()[i];
    if (!is_port(row.port)) return bad("routes", i, "no such port");
    if (row.prefix_length > 128) return bad("routes", i, "prefix length");
    if (i > 0 && routes()[i - 1].prefix_length < row.prefix_length) return bad("routes", i, "not sorted");
  }
  if (auto index = verify_route_index(); !index) return index;
  for (std::size_t i = 0; i < snat_pools().size(); ++i) {
    const SnatPoolRow& row = snat_pools()[i];
    if (!is_name(row.name)) return bad("snat_pools", i, "name out of bounds");
    const std::uint64_t end = std::uint64_t{row.first_address} + row.address_count_v4 + row.address_count_v6;
    if (end > snat_addresses().size()) return bad("snat_pools", i, "addresses out of bounds");
    for (std::uint64_t a = row.first_address; a < end; ++a) {
      if (snat_addresses()[a].is_v4() != (a < std::uint64_t{row.first_address} + row.address_count_v4)) {
        return bad("snat_pools", i, "an address of the wrong family");
      }
    }
    if (row.port_first == 0 || row.port_first > row.port_last) return bad("snat_pools", i, "port range");
    if (static_cast<std::uint32_t>(row.port_last - row.port_first) + 1 < node_row.worker_count) {
      return bad("snat_pools", i, "fewer ports than workers");
    }
  }
  for (std::size_t i = 0; i < clusters().size(); ++i) {
    const ClusterRow& row = clusters()[i];
    if (!is_name(row.name)) return bad("clusters", i, "name out of bounds");
    if (row.endpoint_count > cluster_endpoints_max ||
        std::uint64_t{row.first_endpoint} + row.endpoint_count > endpoints().size()) {
      return bad("clusters", i, "endpoints out of bounds");
    }
    if (row.slot_count > slots_max ||
        std::uint64_t{row.first_slot} + row.slot_count > section<std::uint16_t>(Section::slots).size()) {
      return bad("clusters", i, "slots out of bounds");
    }
    if (row.forwarding > Forwarding::dsr_gue || row.choice > Choice::least) return bad("clusters", i, "unknown mode");
    if (row.source_length_v4 > 128 || row.source_length_v6 > 128) return bad("clusters", i, "prefix length of sources");
    if (row.proxy_protocol > ProxyProtocol::version_2) return bad("clusters", i, "unknown PROXY protocol");
    if (has_snat(row.forwarding) && row.snat_pool >= snat_pools().size()) {
      return bad("clusters", i, "no such SNAT pool");
    }
    for (const std::uint16_t slot : slots_of(row)) {
      if (slot >= row.endpoint_count) return bad("clusters", i, "a slot names no endpoint");
    }
  }
  for (std::size_t i = 0; i < endpoints().size(); ++i) {
    const EndpointRow& row = endpoints()[i];
    if (!is_name(row.name)) return bad("endpoints", i, "name out of bounds");
    if (row.cluster >= clusters().size()) return bad("endpoints", i, "no such cluster");
    if (row.id >= endpoints_max) return bad("endpoints", i, "id above the limit");
    if (row.state > EndpointState::ended) return bad("endpoints", i, "unknown state");
    if (has_tunnel(clusters()[row.cluster].forwarding) &&
        (row.tunnel_source >= addresses().size() ||
         addresses()[row.tunnel_source].address.is_v4() != row.address.is_v4())) {
      return bad("endpoints", i, "no address for the outer header");
    }
    if (endpoint_by_id(row.id) != &row) return bad("endpoints", i, "not found by its id");
  }
  for (std::size_t i = 0; i < vips().size(); ++i) {
    const VipRow& row = vips()[i];
    if (!is_name(row.name) || !is_name(row.virtual_host)) return bad("vips", i, "name out of bounds");
    if (row.cluster >= clusters().size()) return bad("vips", i, "no such cluster");
    if (row.id >= vips_max) return bad("vips", i, "id above the limit");
    if (row.state > VipState::pending) return bad("vips", i, "unknown state");
    if (row.idle_timeout_ms == 0) return bad("vips", i, "idle timeout of zero");
    if (row.syn_cookies > SynCookies::on_threshold) return bad("vips", i, "unknown mode of SYN cookies");
    if (row.syn_cookies == SynCookies::on_threshold && vip_limits().size() != vips().size()) {
      return bad("vips", i, "no threshold for SYN cookies");
    }
    if (row.prefix_length > 128 || IpPrefix::of(row.address, row.prefix_length).network != row.address) {
      return bad("vips", i, "no network of that length");
    }
    if (row.is_one_packet != 0 && (!row.is_exact() || clusters()[row.cluster].forwarding != Forwarding::nat)) {
      return bad("vips", i, "one packet at a time, but not by NAT, or not one address and port");
    }
    if (row.ports > VipPorts::all) return bad("vips", i, "unknown kind of ports");
    if (row.proxies > prefix_tables().size()) return bad("vips", i, "no such prefix table");
    if (!row.is_exact() && (row.is_peeking != 0 || row.is_named != 0)) return bad("vips", i, "server names on more than one port");
    if (row.is_peeking != 0 && row.default_vip != no_row && row.default_vip >= vips().size()) {
      return bad("vips", i, "no such default");
    }
    if (row.forwarding != clusters()[row.cluster].forwarding) return bad("vips", i, "its cluster forwards in another mode");
    if (vip_by_id(row.id) != &row) return bad("vips", i, "not found by its id");
  }

  const auto vip_index = section<std::uint32_t>(Section::vip_index);
  if (!is_probeable(vip_index, [](std::uint32_t place) { return place == no_row; })) {
    return bad("vip_index", 0, "size is no power of two, or full");
  }
  for (const std::uint32_t place : vip_index) {
    if (place != no_row && place >= vips().size()) return bad("vip_index", place, "no such VIP");
  }
  if (auto networks = verify_vip_networks(); !networks) return networks;
  for (std::size_t i = 0; i < vips().size(); ++i) {
    if (!vips()[i].is_exact()) continue;
    const VipRow* found = find_vip(vips()[i].address, vips()[i].port, vips()[i].protocol);
    if (vips()[i].is_named != 0 && (found == nullptr || found->is_peeking == 0)) {
      return bad("vips", i, "named, but no row at its address looks at names");
    }
    if (vips()[i].is_named == 0 && found != &vips()[i]) {
      return bad("vips", i, "not found by its address: a duplicate, or a wrong index");
    }
  }
  const auto names_index = section<ServerNameRow>(Section::server_name_index);
  if (!is_probeable(names_index, [](const ServerNameRow& row) { return row.is_used == 0; })) {
    return bad("server_name_index", 0, "size is no power of two, or full");
  }
  for (std::size_t i = 0; i < names_index.size(); ++i) {
    const ServerNameRow& row = names_index[i];
    if (row.is_used == 0) continue;
    if (!is_name(row.name) || !is_name(row.alpn)) return bad("server_name_index", i, "name out of bounds");
    if (row.listener >= vips().size() || row.vip >= vips().size()) return bad("server_name_index", i, "no such VIP");
  }
  const auto quic_servers = section<QuicServerRow>(Section::quic_server_index);
  if (!is_probeable(quic_servers, [](const QuicServerRow& row) { return row.id_bytes == 0; })) {
    return bad("quic_server_index", 0, "size is no power of two, or full");
  }
  for (std::size_t i = 0; i < quic_servers.size(); ++i) {
    const QuicServerRow& row = quic_servers[i];
    if (row.id_bytes > row.id.size()) return bad("quic_server_index", i, "length of the server ID");
    if (row.id_bytes != 0 && (row.endpoint >= endpoints().size() || endpoints()[row.endpoint].cluster != row.cluster)) {
      return bad("quic_server_index", i, "no such endpoint");
    }
  }
  const auto sets = section<NamePatternSetRow>(Section::name_pattern_sets);
  const auto patterns = section<NamePatternRow>(Section::name_patterns);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const NamePatternSetRow& row = sets[i];
    if (row.listener >= vips().size()) return bad("name_pattern_sets", i, "no such VIP");
    if (i > 0 && sets[i - 1].listener >= row.listener) return bad("name_pattern_sets", i, "not sorted");
    const std::uint64_t byte_end = section<std::byte>(Section::name_pattern_bytes).size();
    if (std::uint64_t{row.first_pattern} + row.pattern_count > patterns.size() || row.first_byte > byte_end ||
        row.byte_count > byte_end - row.first_byte) {
      return bad("name_pattern_sets", i, "parts out of bounds");
    }
  }
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (!is_name(patterns[i].expression) || !is_name(patterns[i].alpn)) return bad("name_patterns", i, "name out of bounds");
    if (patterns[i].vip >= vips().size()) return bad("name_patterns", i, "no such VIP");
  }
  const auto address_index = section<AddressIndexRow>(Section::address_index);
  if (!is_probeable(address_index, [](const AddressIndexRow& row) { return row.kind == AddressKind::none; })) {
    return bad("address_index", 0, "size is no power of two, or full");
  }
  for (std::size_t i = 0; i < address_index.size(); ++i) {
    const AddressIndexRow& row = address_index[i];
    if ((row.kind == AddressKind::snat && row.index >= snat_pools().size()) ||
        (row.kind == AddressKind::own && row.index >= addresses().size()) || row.kind > AddressKind::own) {
      return bad("address_index", i, "names no address");
    }
  }
  const auto return_index = section<ReturnIndexRow>(Section::return_index);
  if (!is_probeable(return_index, [](const ReturnIndexRow& row) { return row.is_used == 0; })) {
    return bad("return_index", 0, "size is no power of two, or full");
  }
  for (std::size_t i = 0; i < return_index.size(); ++i) {
    const ReturnIndexRow& row = return_index[i];
    if (row.is_used == 0 || row.one_packet_vip == no_row) continue;
    if (row.one_packet_vip >= vips().size() || vips()[row.one_packet_vip].is_one_packet == 0 || row.endpoint >= endpoints().size()) {
      return bad("return_index", i, "no such VIP");
    }
  }
  if (!vip_limits().empty() && vip_limits().size() != vips().size()) return bad("vip_limits", 0, "not one for each VIP");
  for (std::size_t i = 0; i < vip_limits().size(); ++i) {
    const VipLimitsRow& row = vip_limits()[i];
    if (row.sources != no_row && row.sources >= prefix_tables().size()) return bad("vip_limits", i, "no such prefix table");
    for (const RateLimitRow& rate : {row.new_flows, row.source_new_flows, row.packets, row.source_packets}) {
      if (rate.interval_ns > rate_interval_ns_max || rate.burst_ns > rate_burst_ns_max) return bad("vip_limits", i, "rate");
    }
  }
  return verify_prefix_tables();
}

// Lookups meet sorted rows only, and each wide VIP is met where it says that it is.
Result<void> Snapshot::verify_route_index() const {
  const auto bad = [](const char* section, std::size_t row, const char* what) {
    return fail(fmt::format("snapshot: section {}, row {}: {}", section, row, what));
  };
  const auto index = section<std::uint32_t>(Section::route_index);
  if (!is_probeable(index, [](std::uint32_t place) { return place == no_row; })) {
    return bad("route_index", 0, "size is no power of two, or full");
  }
  for (std::size_t i = 0; i < index.size(); ++i) {
    if (index[i] != no_row && index[i] >= routes().size()) return bad("route_index", i, "no such route");
  }
  if (!is_falling(route_lengths())) return bad("route_lengths", 0, "not sorted");
  for (std::size_t i = 0; i < routes().size(); ++i) {
    const RouteRow& row = routes()[i];
    const bool is_listed = std::find(route_lengths().begin(), route_lengths().end(), row.prefix_length) != route_lengths().end();
    const RouteRow* found = find_route_to(row.network, row.prefix_length);
    if (!is_listed || found == nullptr || found > &row) return bad("routes", i, "not found by its network");
  }
  return {};
}

Result<void> Snapshot::verify_vip_networks() const {
  const auto bad = [](const char* section, std::size_t row, const char* what) {
    return fail(fmt::format("snapshot: section {}, row {}: {}", section, row, what));
  };
  const auto index = section<VipNetworkRow>(Section::vip_network_index);
  if (!is_probeable(index, [](const VipNetworkRow& row) { return row.is_used == 0; })) {
    return bad("vip_network_index", 0, "size is no power of two, or full");
  }
  if (!is_falling(vip_lengths())) return bad("vip_lengths", 0, "not sorted");
  for (std::size_t i = 0; i < index.size(); ++i) {
    const VipNetworkRow& row = index[i];
    if (row.is_used == 0) continue;
    if (std::find(vip_lengths().begin(), vip_lengths().end(), row.prefix_length) == vip_lengths().end()) {
      return bad("vip_network_index", i, "a length that is not listed");
    }
    for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
      const VipPortsRow& ports = row.of(protocol);
      const auto belongs_here = [&](std::uint32_t vip) {
        return vip < vips().size() && vips()[vip].address == row.network && vips()[vip].prefix_length == row.prefix_length &&
               vips()[vip].protocol == protocol && !vips()[vip].is_exact();
      };
      if (ports.all != no_row && !belongs_here(ports.all)) return bad("vip_network_index", i, "all ports of no such VIP");
      if (std::uint64_t{ports.first_range} + ports.single_count + ports.range_count > vip_ranges().size()) {
        return bad("vip_network_index", i, "ranges out of bounds");
      }
      const auto both = vip_ranges().subspan(ports.first_range, ports.single_count + ports.range_count);
      for (std::size_t r = 0; r < both.size(); ++r) {
        const PortRange range = both[r].ports;
        const bool is_first_of_kind = r == 0 || r == ports.single_count;
        if (range.first > range.last || (r < ports.single_count && !range.is_single()) || !belongs_here(both[r].vip)) {
          return bad("vip_ranges", ports.first_range + r, "no range of a VIP here");
        }
        if (!is_first_of_kind && both[r - 1].ports.last >= range.first) {
          return bad("vip_ranges", ports.first_range + r, "not sorted, or overlapping");
        }
      }
    }
  }
  for (std::size_t i = 0; i < vips().size(); ++i) {
    const VipRow& row = vips()[i];
    if (!row.is_exact() && ports_of(row).empty()) return bad("vips", i, "not found by its address and ports");
  }
  return {};
}

// A walk down ends: children lie behind their parents.
Result<void> Snapshot::verify_prefix_tables() const {
  for (std::size_t i = 0; i < prefix_tables().size(); ++i) {
    const PrefixTableRow& row = prefix_tables()[i];
    const auto bad = [&](const char* what) {
      return fail(fmt::format("snapshot: section prefix_tables, row {}: {}", i, what));
    };
    const auto is_inside = [](std::uint64_t first, std::uint64_t count, std::size_t size) { return first + count <= size; };
    const auto is_root = [](std::uint32_t count) { return count == 0 || count == 1u << prefix_root_bits; };
    if (!is_root(row.root_count_v4) || !is_root(row.root_count_v6)) return bad("root size");
    if (!is_inside(row.first_root, std::uint64_t{row.root_count_v4} + row.root_count_v6,
                   section<std::uint32_t>(Section::prefix_roots).size()) ||
        !is_inside(row.first_node, row.node_count, section<PrefixNode>(Section::prefix_nodes).size())) {
      return bad("parts out of bounds");
    }
    const PrefixTable table = prefix_table(row);
    const auto is_entry = [&](std::uint32_t entry) {
      return (entry & prefix_value_bit) != 0 || entry < row.node_count;
    };
    if (!is_entry(row.top_v4) || !is_entry(row.top_v6) ||
        !std::all_of(table.roots.begin(), table.roots.end(), is_entry)) {
      return bad("an entry names no node");
    }
    for (std::size_t n = 0; n < table.nodes.size(); ++n) {
      const PrefixNode& node = table.nodes[n];
      const auto children = static_cast<unsigned>(std::popcount(node.inner));
      if (children > 0 && (node.first_node <= n || !is_inside(node.first_node, children, row.node_count))) {
        return bad("a node's children are not behind it");
      }
    }
  }
  return {};
}

Result<void> Snapshot::load_name_patterns() {
  const auto sets = section<NamePatternSetRow>(Section::name_pattern_sets);
  if (sets.empty()) return {};
  auto loaded = std::make_shared<LoadedPatterns>();
  PatternScratch scratch;  // large enough for each of them
  for (const NamePatternSetRow& row : sets) {
    const VipRow& listener = vips()[row.listener];
    const auto bad = [&](const Error& error) {
      return fail(fmt::format("snapshot: the regular expressions for server names of {}: {}",
                              address_port_text(listener.address, listener.port), error.message));
    };
    auto patterns =
        NamePatterns::load(section<std::byte>(Section::name_pattern_bytes).subspan(row.first_byte, row.byte_count));
    if (!patterns) return bad(patterns.error());
    if (auto enlarged = patterns->enlarge(scratch); !enlarged) return bad(enlarged.error());
    loaded->sets.push_back(std::move(*patterns));
  }
  for (std::uint32_t lcore = 0; lcore < workers_max; ++lcore) {
    auto own = scratch.clone();
    if (!own) return fail("snapshot: " + own.error().message);
    loaded->scratches.push_back(std::move(*own));
  }
  patterns_ = std::move(loaded);
  return {};
}

std::string_view Snapshot::name(NameRef ref) const {
  return {section<char>(Section::names).data() + ref.offset, ref.bytes};
}

const VipNetworkRow* Snapshot::find_vip_network(IpAddress network, std::uint8_t prefix_length) const {
  const auto index = section<VipNetworkRow>(Section::vip_network_index);
  for (std::uint64_t place = network_hash(network, prefix_length);; ++place) {
    const VipNetworkRow& row = index[place & (index.size() - 1)];
    if (row.is_used == 0) return nullptr;
    if (row.network == network && row.prefix_length == prefix_length) return &row;
  }
}

const VipRow* Snapshot::find_wide_vip(IpAddress address, Be16 port, std::uint8_t protocol) const {
  const std::uint16_t number = port.host();
  const auto find_in = [&](std::span<const VipRangeRow> ranges) -> const VipRow* {
    const auto behind = std::upper_bound(ranges.begin(), ranges.end(), number,
                                         [](std::uint16_t at, const VipRangeRow& row) { return at < row.ports.first; });
    const bool is_inside = behind != ranges.begin() && number <= std::prev(behind)->ports.last;
    return is_inside ? &vips()[std::prev(behind)->vip] : nullptr;
  };
  for (const std::uint8_t length : vip_lengths()) {
    const VipNetworkRow* network = find_vip_network(IpPrefix::of(address, length).network, length);
    if (network == nullptr) continue;
    const VipPortsRow& ports = network->of(protocol);
    if (const VipRow* vip = find_in(vip_ranges().subspan(ports.first_range, ports.single_count))) return vip;
    if (const VipRow* vip = find_in(vip_ranges().subspan(ports.first_range + ports.single_count, ports.range_count))) return vip;
    if (ports.all != no_row && all_ports.contains(number)) return &vips()[ports.all];
  }
  return nullptr;
}

OwnAddress Snapshot::find_address_in_prefixes(IpAddress address) const {
  for (const std::uint8_t length : vip_lengths()) {
    if (length == 128) continue;  // their addresses are in the index
    if (find_vip_network(IpPrefix::of(address, length).network, length) == nullptr) continue;
    return {AddressKind::vip};
  }
  return {};
}

std::vector<IpAddress> Snapshot::local_addresses() const {
  constexpr std::uint64_t network_addresses_max = 256;  // a network may have more than anybody wants to hear of
  std::vector<IpAddress> all;
  for (const VipRow& vip : vips()) {
    if (vip.is_named != 0) continue;  // the row that it shares the address with is enough
    const std::uint64_t count = vip.prefix_length > 120 ? 1ull << (128 - vip.prefix_length) : network_addresses_max;
    for (std::uint64_t i = 0; i < count; ++i) {
      all.push_back({vip.address.high, __builtin_bswap64(__builtin_bswap64(vip.address.low) + i)});
    }
  }
  all.insert(all.end(), snat_addresses().begin(), snat_addresses().end());
  for (const AddressRow& own : addresses()) all.push_back(own.address);
  return all;
}

bool Snapshot::covers(const VipRow& vip, IpAddress address, Be16 port) const {
  if (vip.is_exact()) return vip.address == address && vip.port == port;
  if (!IpPrefix{vip.address, vip.prefix_length}.contains(address)) return false;
  const auto ranges = ports_of(vip);
  return std::any_of(ranges.begin(), ranges.end(), [&](const PortRange& range) { return range.contains(port.host()); });
}

std::vector<PortRange> Snapshot::ports_of(const VipRow& vip) const {
  if (vip.is_exact()) return {{vip.port.host(), vip.port.host()}};
  const VipNetworkRow* network = find_vip_network(vip.address, vip.prefix_length);
  if (network == nullptr) return {};
  const auto row = static_cast<std::uint32_t>(&vip - vips().data());
  const VipPortsRow& ports = network->of(vip.protocol);
  if (ports.all == row) return {all_ports};
  std::vector<PortRange> own;
  for (const VipRangeRow& range : vip_ranges().subspan(ports.first_range, ports.single_count + ports.range_count)) {
    if (range.vip == row) own.push_back(range.ports);
  }
  std::sort(own.begin(), own.end(), [](const PortRange& a, const PortRange& b) { return a.first < b.first; });
  return own;
}

std::string Snapshot::vip_text(const VipRow& vip) const {
  return sluice::vip_text({vip.address, vip.prefix_length}, ports_of(vip), vip.protocol);
}

const VipRow* Snapshot::find_named(std::uint32_t listener, std::string_view text, bool is_suffix,
                                   const ClientHello& hello) const {
  const auto index = section<ServerNameRow>(Section::server_name_index);
  const VipRow* for_all = nullptr;
  for (std::uint64_t place = name_hash(listener, text);; ++place) {
    const ServerNameRow& row = index[place & (index.size() - 1)];
    if (row.is_used == 0) return for_all;
    if (row.listener != listener || (row.is_suffix != 0) != is_suffix || name(row.name) != text) continue;
    if (row.alpn.bytes == 0) {
      if (for_all == nullptr) for_all = &vips()[row.vip];
    } else if (hello.offers(name(row.alpn))) {
      return &vips()[row.vip];
    }
  }
}

const VipRow* Snapshot::find_by_pattern(std::uint32_t listener, const ClientHello& hello, std::uint32_t lcore) const {
  if (patterns_ == nullptr) return nullptr;
  const auto sets = section<NamePatternSetRow>(Section::name_pattern_sets);
  const auto set = std::lower_bound(sets.begin(), sets.end(), listener, [](const NamePatternSetRow& row, std::uint32_t wanted) {
    return row.listener < wanted;
  });
  if (set == sets.end() || set->listener != listener) return nullptr;
  const auto rows = section<NamePatternRow>(Section::name_patterns).subspan(set->first_pattern, set->pattern_count);
  std::size_t first = rows.size();
  patterns_->sets[static_cast<std::size_t>(set - sets.begin())].scan(
      hello.server_name(), patterns_->scratches[lcore], [&](std::uint32_t number) {
        if (number >= first) return;
        const NamePatternRow& row = rows[number];
        if (row.alpn.bytes == 0 || hello.offers_one_of(name(row.alpn))) first = number;
      });
  return first == rows.size() ? nullptr : &vips()[rows[first].vip];
}

const VipRow* Snapshot::find_by_hello(const VipRow& listener, const ClientHello& hello, std::uint32_t lcore) const {
  const auto row = static_cast<std::uint32_t>(&listener - vips().data());
  std::string_view text = hello.server_name();
  if (!text.empty()) {
    if (const VipRow* vip = find_named(row, text, false, hello)) return vip;
    for (std::size_t dot = text.find('.'); dot != std::string_view::npos; dot = text.find('.')) {
      const bool is_label_before = dot > 0;  // the * stands for something
      text.remove_prefix(dot + 1);
      const VipRow* vip = is_label_before ? find_named(row, text, true, hello) : nullptr;
      if (vip != nullptr) return vip;
    }
    if (const VipRow* vip = find_by_pattern(row, hello, lcore)) return vip;
  }
  return listener.default_vip == no_row ? nullptr : &vips()[listener.default_vip];
}

bool Snapshot::answers_for(IpAddress address, std::uint16_t port) const {
  const OwnAddress row = find_address(address);
  if (row.kind == AddressKind::own) return addresses()[row.index].port == port;
  return row.kind != AddressKind::none;
}

const ReturnIndexRow* Snapshot::find_return(IpAddress address, Be16 port, std::uint8_t protocol) const {
  const auto index = section<ReturnIndexRow>(Section::return_index);
  for (std::uint64_t place = index_hash(address, port, protocol);; ++place) {
    const ReturnIndexRow& row = index[place & (index.size() - 1)];
    if (row.is_used == 0) return nullptr;
    if (row.address == address && row.port == port && row.protocol == protocol) return &row;
  }
}

const ReturnIndexRow* Snapshot::find_one_packet_return(IpAddress address, Be16 port, std::uint8_t protocol) const {
  if (node().has_one_packet_vips == 0) return nullptr;
  const ReturnIndexRow* row = find_return(address, port, protocol);
  return row != nullptr && row->one_packet_vip != no_row ? row : nullptr;
}

const EndpointRow* Snapshot::find_quic_server(std::uint32_t cluster, std::span<const std::byte> server_id) const {
  const std::string_view text(reinterpret_cast<const char*>(server_id.data()), server_id.size());
  const auto index = section<QuicServerRow>(Section::quic_server_index);
  for (std::uint64_t place = name_hash(cluster, text);; ++place) {
    const QuicServerRow& row = index[place & (index.size() - 1)];
    if (row.id_bytes == 0) return nullptr;
    if (row.cluster == cluster && row.server_id() == text) return &endpoints()[row.endpoint];
  }
}

bool Snapshot::is_return_source(IpAddress address, Be16 port, std::uint8_t protocol) const {
  if (find_return(address, port, protocol) != nullptr) return true;
  if (node().has_any_port_returns == 0) return false;
  const ReturnIndexRow* row = find_return(address, Be16{0}, protocol);
  return row != nullptr && row->is_any_port != 0;
}

const VipRow* Snapshot::vip_by_id(std::uint32_t id) const {
  const auto rows = section<std::uint32_t>(Section::vip_rows_by_id);
  if (id >= rows.size() || rows[id] >= vips().size()) return nullptr;
  return &vips()[rows[id]];
}

const EndpointRow* Snapshot::endpoint_by_id(std::uint32_t id) const {
  const auto rows = section<std::uint32_t>(Section::endpoint_rows_by_id);
  if (id >= rows.size() || rows[id] >= endpoints().size()) return nullptr;
  return &endpoints()[rows[id]];
}

const RouteRow* Snapshot::find_route_to(IpAddress network, std::uint8_t prefix_length) const {
  const auto index = section<std::uint32_t>(Section::route_index);
  for (std::uint64_t place = network_hash(network, prefix_length);; ++place) {
    const std::uint32_t row = index[place & (index.size() - 1)];
    if (row == no_row) return nullptr;
    if (routes()[row].network == network && routes()[row].prefix_length == prefix_length) return &routes()[row];
  }
}

// One look for each length that there is: of a thousand routes a dozen.
const RouteRow* Snapshot::find_route(IpAddress destination) const {
  const bool is_v4 = destination.is_v4();
  for (const std::uint8_t length : route_lengths()) {
    if (is_v4 && length < 96) break;  // ::/0 is no default route of IPv4
    if (const RouteRow* route = find_route_to(IpPrefix::of(destination, length).network, length)) return route;
  }
  return nullptr;
}

const AddressRow* Snapshot::source_for(IpAddress neighbor, std::uint16_t port) const {
  const AddressRow* of_the_family = nullptr;
  for (const AddressRow& row : addresses()) {
    if (row.port != port || row.address.is_v4() != neighbor.is_v4()) continue;
    if (IpPrefix::of(row.address, row.prefix_length).contains(neighbor)) return &row;
    if (of_the_family == nullptr) of_the_family = &row;
  }
  return of_the_family;
}

}  // namespace sluice
