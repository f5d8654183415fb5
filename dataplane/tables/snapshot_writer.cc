#include "dataplane/tables/snapshot_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <set>

#include "dataplane/base/crc32c.h"

namespace sluice {
namespace {

constexpr std::size_t align_up(std::size_t bytes) { return (bytes + 63) & ~std::size_t{63}; }

// Room for `count` keys at most half full, so that probes stay short and one place is always empty.
std::size_t index_size(std::size_t count) { return std::bit_ceil(std::max<std::size_t>(2, count * 2 + 1)); }

// Of an index in which strangers' addresses are looked for, nearly always in vain: a small one is mostly empty, so that the
// first place says so and the processor guesses it right.
std::size_t index_size_for_strangers(std::size_t count) { return std::max<std::size_t>(512, index_size(count)); }

template <class Row, class IsEmpty, class IsSame>
void insert(std::vector<Row>& index, std::uint64_t hash, const Row& row, IsEmpty is_empty, IsSame is_same) {
  for (std::uint64_t place = hash;; ++place) {
    Row& at = index[place & (index.size() - 1)];
    if (is_empty(at)) {
      at = row;
      return;
    }
    if (is_same(at)) return;  // the first one stays
  }
}

template <class Row>
std::vector<std::uint32_t> rows_by_id(const std::vector<Row>& rows) {
  std::uint32_t id_end = 0;
  for (const Row& row : rows) id_end = std::max<std::uint32_t>(id_end, row.id + 1u);
  std::vector<std::uint32_t> by_id(id_end, no_row);
  for (std::size_t i = 0; i < rows.size(); ++i) by_id[rows[i].id] = static_cast<std::uint32_t>(i);
  return by_id;
}

}  // namespace

NameRef SnapshotWriter::name(std::string_view text) {
  const auto [known, is_new] = known_names_.try_emplace(std::string(text));
  if (is_new) {
    known->second = {static_cast<std::uint32_t>(names_.size()), static_cast<std::uint32_t>(text.size())};
    names_ += text;
  }
  return known->second;
}

std::uint32_t SnapshotWriter::add_snat_pool(std::string_view pool_name, std::span<const IpAddress> pool_addresses,
                                            std::uint16_t port_first, std::uint16_t port_last) {
  SnatPoolRow row{};
  row.name = name(pool_name);
  row.first_address = static_cast<std::uint32_t>(snat_addresses_.size());
  row.port_first = port_first;
  row.port_last = port_last;
  for (const bool is_v4 : {true, false}) {
    for (const IpAddress& address : pool_addresses) {
      if (address.is_v4() != is_v4) continue;
      snat_addresses_.push_back(address);
      ++(is_v4 ? row.address_count_v4 : row.address_count_v6);
    }
  }
  return append(snat_pools_, row);
}

std::uint32_t SnapshotWriter::add_cluster(ClusterRow row, std::span<const EndpointRow> endpoints,
                                          std::span<const std::uint16_t> slots) {
  row.first_endpoint = static_cast<std::uint32_t>(endpoints_.size());
  row.endpoint_count = static_cast<std::uint32_t>(endpoints.size());
  row.first_slot = static_cast<std::uint32_t>(slots_.size());
  row.slot_count = static_cast<std::uint32_t>(slots.size());
  const auto cluster = static_cast<std::uint32_t>(clusters_.size());
  for (EndpointRow endpoint : endpoints) {
    endpoint.cluster = cluster;
    endpoints_.push_back(endpoint);
  }
  slots_.insert(slots_.end(), slots.begin(), slots.end());
  return append(clusters_, row);
}

void SnapshotWriter::add_limits(VipLimitsRow row) {
  vip_limits_.resize(vips_.size(), no_limits);
  vip_limits_.back() = row;
}

std::uint32_t SnapshotWriter::add(const PrefixTableParts& table) {
  PrefixTableRow row = table.row;
  row.first_root = static_cast<std::uint32_t>(prefix_roots_.size());
  row.first_node = static_cast<std::uint32_t>(prefix_nodes_.size());
  prefix_roots_.insert(prefix_roots_.end(), table.roots.begin(), table.roots.end());
  prefix_nodes_.insert(prefix_nodes_.end(), table.nodes.begin(), table.nodes.end());
  return append(prefix_tables_, row);
}

void SnapshotWriter::add_server_name(std::uint32_t listener, std::string_view server_name, std::string_view alpn,
                                     std::uint32_t vip) {
  ServerNameRow row{};
  row.is_suffix = server_name.starts_with("*.");
  row.name = name(server_name.substr(row.is_suffix != 0 ? 2 : 0));
  row.alpn = name(alpn);
  row.listener = listener;
  row.vip = vip;
  row.is_used = 1;
  server_names_.push_back(row);
}

void SnapshotWriter::add_name_patterns(std::uint32_t listener, std::span<const NamePattern> patterns,
                                       std::span<const std::byte> database) {
  name_pattern_bytes_.resize(align_up(name_pattern_bytes_.size()));
  name_pattern_sets_.push_back({listener, static_cast<std::uint32_t>(name_patterns_.size()),
                                static_cast<std::uint32_t>(patterns.size()), 0, name_pattern_bytes_.size(), database.size()});
  name_pattern_bytes_.insert(name_pattern_bytes_.end(), database.begin(), database.end());
  for (const NamePattern& pattern : patterns) {
    name_patterns_.push_back({name(pattern.expression), name(pattern.alpn), pattern.vip, 0});
  }
}

std::vector<ServerNameRow> SnapshotWriter::build_server_name_index() const {
  std::vector<ServerNameRow> index(index_size(server_names_.size()));
  for (const ServerNameRow& row : server_names_) {
    const std::string_view text = std::string_view(names_).substr(row.name.offset, row.name.bytes);
    insert(index, name_hash(row.listener, text), row, [](const ServerNameRow& at) { return at.is_used == 0; },
           [](const ServerNameRow&) { return false; });
  }
  return index;
}

void SnapshotWriter::add_quic_server(std::uint32_t cluster, std::uint32_t endpoint, std::string_view server_id) {
  QuicServerRow row{};
  row.id_bytes = static_cast<std::uint8_t>(server_id.copy(row.id.data(), row.id.size()));
  row.cluster = cluster;
  row.endpoint = clusters_[cluster].first_endpoint + endpoint;
  quic_servers_.push_back(row);
}

std::vector<QuicServerRow> SnapshotWriter::build_quic_server_index() const {
  std::vector<QuicServerRow> index(index_size(quic_servers_.size()));
  for (const QuicServerRow& row : quic_servers_) {
    insert(index, name_hash(row.cluster, row.server_id()), row, [](const QuicServerRow& at) { return at.id_bytes == 0; },
           [&](const QuicServerRow& at) { return at.cluster == row.cluster && at.server_id() == row.server_id(); });
  }
  return index;
}

void SnapshotWriter::set_blocklist(std::span<const IpPrefix> networks, const PrefixTableParts& table) {
  for (const IpPrefix& network : networks) blocked_.push_back({network.network, network.length, {}});
  node.blocklist = add(table) + 1;
}

// Which VIPs may lead to an IPv6 endpoint: by their cluster, or by those of the names that they look at.
void SnapshotWriter::mark_families() {
  for (VipRow& vip : vips_) {
    const ClusterRow& cluster = clusters_[vip.cluster];
    const auto endpoints = std::span(endpoints_).subspan(cluster.first_endpoint, cluster.endpoint_count);
    vip.may_lead_to_v6 = std::any_of(endpoints.begin(), endpoints.end(), [](const EndpointRow& row) { return !row.address.is_v4(); });
  }
  const auto mark = [&](std::uint32_t listener, std::uint32_t vip) { vips_[listener].may_lead_to_v6 |= vips_[vip].may_lead_to_v6; };
  for (const ServerNameRow& row : server_names_) mark(row.listener, row.vip);
  for (const NamePatternSetRow& set : name_pattern_sets_) {
    for (std::uint32_t i = 0; i < set.pattern_count; ++i) mark(set.listener, name_patterns_[set.first_pattern + i].vip);
  }
  for (std::uint32_t i = 0; i < vips_.size(); ++i) {
    if (vips_[i].is_peeking != 0 && vips_[i].default_vip != no_row) mark(i, vips_[i].default_vip);
  }
}

std::vector<std::uint32_t> SnapshotWriter::build_route_index() const {
  std::vector<std::uint32_t> index(index_size(routes_.size()), no_row);
  for (std::uint32_t i = 0; i < routes_.size(); ++i) {
    const RouteRow& route = routes_[i];
    insert(index, network_hash(route.network, route.prefix_length), i, [](std::uint32_t place) { return place == no_row; },
           [&](std::uint32_t place) {
             return routes_[place].network == route.network && routes_[place].prefix_length == route.prefix_length;
           });
  }
  return index;
}

std::vector<std::uint32_t> SnapshotWriter::build_vip_index() const {
  std::vector<std::uint32_t> index(index_size_for_strangers(vips_.size()), no_row);
  for (std::uint32_t i = 0; i < vips_.size(); ++i) {
    if (vips_[i].is_named != 0 || !vips_[i].is_exact()) continue;
    insert(index, index_hash(vips_[i].address, vips_[i].port, vips_[i].protocol), i,
           [](std::uint32_t place) { return place == no_row; }, [](std::uint32_t) { return false; });
  }
  return index;
}

// By address and length, who takes which ports.
void SnapshotWriter::build_vip_networks() {
  struct Takers {
    std::vector<VipRangeRow> singles, ranges;
    std::uint32_t all = no_row;
  };
  std::map<std::pair<IpAddress, std::uint8_t>, std::array<Takers, 2>> networks;
  const auto takers_of = [&](const VipRow& vip) -> Takers& {
    return networks[{vip.address, vip.prefix_length}][vip.protocol == 17 ? 1 : 0];
  };
  for (std::uint32_t i = 0; i < vips_.size(); ++i) {
    if (vips_[i].is_exact()) continue;
    if (vips_[i].ports == VipPorts::all) takers_of(vips_[i]).all = i;
    if (vips_[i].ports == VipPorts::one) vip_ranges_.push_back({{vips_[i].port.host(), vips_[i].port.host()}, i});
  }
  for (const VipRangeRow& range : vip_ranges_) {
    Takers& takers = takers_of(vips_[range.vip]);
    (range.ports.is_single() ? takers.singles : takers.ranges).push_back(range);
  }
  vip_ranges_.clear();
  const auto place = [&](Takers& takers) {
    VipPortsRow row{static_cast<std::uint32_t>(vip_ranges_.size()), static_cast<std::uint32_t>(takers.singles.size()),
                    static_cast<std::uint32_t>(takers.ranges.size()), takers.all};
    for (auto* kind : {&takers.singles, &takers.ranges}) {
      std::sort(kind->begin(), kind->end(),
                [](const VipRangeRow& a, const VipRangeRow& b) { return a.ports.first < b.ports.first; });
      vip_ranges_.insert(vip_ranges_.end(), kind->begin(), kind->end());
    }
    return row;
  };
  vip_network_index_.assign(index_size(networks.size()), {});
  std::set<std::uint8_t, std::greater<>> lengths;
  for (auto& [where, takers] : networks) {
    lengths.insert(where.second);
    insert(vip_network_index_, network_hash(where.first, where.second),
           VipNetworkRow{where.first, where.second, 1, {}, place(takers[0]), place(takers[1])},
           [](const VipNetworkRow& at) { return at.is_used == 0; }, [](const VipNetworkRow&) { return false; });
  }
  vip_lengths_.assign(lengths.begin(), lengths.end());
}

std::vector<AddressIndexRow> SnapshotWriter::build_address_index() const {
  std::vector<AddressIndexRow> index(index_size_for_strangers(vips_.size() + snat_addresses_.size() + addresses_.size()));
  const auto put = [&](IpAddress address, AddressKind kind, std::size_t row) {
    insert(index, index_hash(address),
           AddressIndexRow{address, kind, {}, static_cast<std::uint32_t>(row)},
           [](const AddressIndexRow& at) { return at.kind == AddressKind::none; },
           [&](const AddressIndexRow& at) { return at.address == address; });
  };
  for (const VipRow& vip : vips_) {
    if (vip.prefix_length == 128) put(vip.address, AddressKind::vip, no_row);
  }
  for (std::size_t i = 0; i < snat_pools_.size(); ++i) {
    const SnatPoolRow& pool = snat_pools_[i];
    const std::uint32_t count = pool.address_count_v4 + pool.address_count_v6;
    for (std::uint32_t a = 0; a < count; ++a) put(snat_addresses_[pool.first_address + a], AddressKind::snat, i);
  }
  for (std::size_t i = 0; i < addresses_.size(); ++i) put(addresses_[i].address, AddressKind::own, i);
  return index;
}

std::vector<ReturnIndexRow> SnapshotWriter::build_return_index() const {
  std::vector<ReturnIndexRow> index(index_size(2 * endpoints_.size()));
  std::vector<std::uint32_t> one_packet_vip(clusters_.size(), no_row);
  for (std::uint32_t i = 0; i < vips_.size(); ++i) {
    if (vips_[i].is_one_packet != 0 && vips_[i].cluster < clusters_.size()) one_packet_vip[vips_[i].cluster] = i;
  }
  for (std::uint32_t row = 0; row < endpoints_.size(); ++row) {
    const EndpointRow& endpoint = endpoints_[row];
    const ClusterRow& cluster = clusters_[endpoint.cluster];
    if (cluster.forwarding != Forwarding::nat) continue;
    for (const Be16 port : {endpoint.port, Be16{0}}) {
      const std::uint8_t is_any_port = port == Be16{0} ? cluster.is_lb_port : std::uint8_t{0};
      insert(index, index_hash(endpoint.address, port, endpoint.protocol),
             ReturnIndexRow{endpoint.address, port, endpoint.protocol, 1, is_any_port, {},
                            port == Be16{0} ? no_row : one_packet_vip[endpoint.cluster], row},
             [](const ReturnIndexRow& at) { return at.is_used == 0; },
             [&](ReturnIndexRow& at) {
               if (at.address != endpoint.address || at.port != port || at.protocol != endpoint.protocol) return false;
               at.is_any_port |= is_any_port;  // a member of several clusters
               return true;
             });
    }
  }
  return index;
}

Result<SnapshotBuffer> SnapshotWriter::finish(std::uint64_t generation) {
  std::stable_sort(routes_.begin(), routes_.end(),
                   [](const RouteRow& a, const RouteRow& b) { return a.prefix_length > b.prefix_length; });
  node.has_one_packet_vips =
      std::any_of(vips_.begin(), vips_.end(), [](const VipRow& vip) { return vip.is_one_packet != 0; });
  node.has_any_port_returns = std::any_of(clusters_.begin(), clusters_.end(), [](const ClusterRow& cluster) {
    return cluster.is_lb_port != 0 && cluster.forwarding == Forwarding::nat;
  });
  node.routes_check = crc32c(std::as_bytes(std::span(routes_)));
  if (!vip_limits_.empty()) vip_limits_.resize(vips_.size(), no_limits);
  for (VipRow& vip : vips_) vip.forwarding = clusters_[vip.cluster].forwarding;
  mark_families();
  std::sort(name_pattern_sets_.begin(), name_pattern_sets_.end(),
            [](const NamePatternSetRow& a, const NamePatternSetRow& b) { return a.listener < b.listener; });
  const auto route_index = build_route_index();
  std::vector<std::uint8_t> route_lengths;
  for (const RouteRow& route : routes_) route_lengths.push_back(route.prefix_length);
  route_lengths.erase(std::unique(route_lengths.begin(), route_lengths.end()), route_lengths.end());
  const auto vip_index = build_vip_index();
  build_vip_networks();
  const auto address_index = build_address_index();
  const auto return_index = build_return_index();
  const auto server_names = build_server_name_index();
  const auto quic_servers = build_quic_server_index();
  const auto vip_rows = rows_by_id(vips_);
  const auto endpoint_rows = rows_by_id(endpoints_);

  struct Part {
    const void* rows;
    std::size_t row_bytes;
    std::size_t row_count;
  };
  const auto part = [](const auto& rows) { return Part{rows.data(), sizeof(rows[0]), rows.size()}; };
  const Part parts[] = {
      {&node, sizeof node, 1}, part(ports_),     part(addresses_),    part(routes_),
      part(snat_pools_),       part(snat_addresses_), part(vips_),    part(clusters_),
      part(endpoints_),        part(slots_),     part(vip_index),     part(address_index),
      part(return_index),      part(vip_rows),   part(endpoint_rows), part(vip_limits_),
      part(prefix_tables_),    part(prefix_roots_), part(prefix_nodes_), part(blocked_), part(names_),
      part(server_names), part(quic_servers), part(vip_network_index_), part(vip_ranges_), part(vip_lengths_),
      part(name_pattern_sets_), part(name_patterns_), part(name_pattern_bytes_), part(route_index),
      part(route_lengths)};
  static_assert(std::size(parts) == static_cast<std::size_t>(Section::count));

  std::size_t total = align_up(sizeof(SnapshotHeader) + std::size(parts) * sizeof(SectionEntry));
  std::vector<SectionEntry> entries;
  for (std::size_t i = 0; i < std::size(parts); ++i) {
    entries.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(parts[i].row_bytes), total,
                       parts[i].row_count});
    total = align_up(total + parts[i].row_bytes * parts[i].row_count);
  }

  SnapshotBuffer buffer(total);
  std::byte* out = buffer.bytes().data();
  SnapshotHeader header{};
  std::copy(std::begin(snapshot_magic), std::end(snapshot_magic), header.magic);
  header.format = snapshot_format;
  header.total_bytes = total;
  header.generation = generation;
  header.section_count = static_cast<std::uint32_t>(std::size(parts));
  std::memcpy(out + sizeof header, entries.data(), entries.size() * sizeof(SectionEntry));
  for (std::size_t i = 0; i < std::size(parts); ++i) {
    if (parts[i].row_count == 0) continue;
    std::memcpy(out + entries[i].offset, parts[i].rows, parts[i].row_bytes * parts[i].row_count);
  }
  header.crc = crc32c(std::span<const std::byte>(buffer.bytes()).subspan(sizeof header),
                      crc32c(std::as_bytes(std::span(&header, 1))));
  std::memcpy(out, &header, sizeof header);

  if (auto verified = Snapshot::verify(buffer.bytes()); !verified) return tl::unexpected(verified.error());
  return buffer;
}

}  // namespace sluice
