// Clusters: each with its endpoints and the slots from which new flows are given to them.
#include <fmt/core.h>

#include <algorithm>

#include "dataplane/base/assert.h"
#include "dataplane/net/headers.h"
#include "mgmt/compile/endpoint_status.h"
#include "mgmt/compile/sections.h"
#include "mgmt/compile/slots.h"
#include "mgmt/model/fields.h"
#include "mgmt/schema/paths.h"

namespace sluice {
namespace {

using Algorithm = api::ClusterExtension::Algorithm;

Algorithm algorithm_of(const api::ClusterSpec& spec) {
  if (spec.sluice().has_algorithm()) return spec.sluice().algorithm();
  switch (spec.loadbalancer_algorithm()) {
    case api::ClusterSpec::LEAST_REQUEST:
      return api::ClusterExtension::LEAST_REQUEST;
    case api::ClusterSpec::RING_HASH:
      return api::ClusterExtension::RING_HASH;
    case api::ClusterSpec::RANDOM:
      return api::ClusterExtension::RANDOM;
    default:
      return api::ClusterExtension::ROUND_ROBIN;
  }
}

Choice choice_of(Algorithm algorithm) {
  switch (algorithm) {
    case api::ClusterExtension::MAGLEV:
    case api::ClusterExtension::RING_HASH:
      return Choice::hash;
    case api::ClusterExtension::LEAST_REQUEST:
      return Choice::least;
    case api::ClusterExtension::RANDOM:
      return Choice::random;
    default:
      return Choice::rotate;
  }
}

std::vector<std::uint16_t> build_slots(Algorithm algorithm, std::uint32_t maglev_size,
                                       const std::vector<SlotEndpoint>& endpoints) {
  switch (algorithm) {
    case api::ClusterExtension::MAGLEV:
      return maglev_slots(endpoints, maglev_size);
    case api::ClusterExtension::RING_HASH:
      return ring_slots(endpoints);
    case api::ClusterExtension::LEAST_REQUEST: {  // each once: the dataplane compares load by
                                                  // weight itself
      std::vector<std::uint16_t> slots;
      for (const SlotEndpoint& endpoint : endpoints) {
        if (endpoint.takes_flows != 0) slots.push_back(endpoint.index);
      }
      return slots;
    }
    default:
      return sequence_slots(endpoints);
  }
}

std::string made_from(Algorithm algorithm, std::uint32_t maglev_size,
                      const std::vector<SlotEndpoint>& endpoints) {
  std::string text = fmt::format("{} {}", static_cast<int>(algorithm), maglev_size);
  text.append(reinterpret_cast<const char*>(endpoints.data()),
              endpoints.size() * sizeof(SlotEndpoint));
  return text;
}
static_assert(sizeof(SlotEndpoint) == 16);

Forwarding forwarding_of(const api::ClusterSpec& spec) {
  switch (spec.sluice().forwarding()) {
    case api::ClusterExtension::NAT:
      return Forwarding::nat;
    case api::ClusterExtension::SPLICE:
      return Forwarding::splice;
    case api::ClusterExtension::DSR_L2:
      return Forwarding::dsr_l2;
    case api::ClusterExtension::DSR_IPIP:
      return Forwarding::dsr_ipip;
    case api::ClusterExtension::DSR_GUE:
      return Forwarding::dsr_gue;
    default:
      return Forwarding::full_nat;
  }
}

ProxyProtocol proxy_protocol_of(const api::ClusterSpec& spec) {
  if (spec.has_proxy_protocol_v1()) return ProxyProtocol::version_1;
  return spec.has_proxy_protocol_v2() ? ProxyProtocol::version_2 : ProxyProtocol::none;
}

class ClusterCompiler {
 public:
  ClusterCompiler(const CompileInput& input, SnapshotWriter& writer,
                  const SnatPoolRows& snat_pools, SlotCache* cache)
      : input_(input), writer_(writer), snat_pools_(snat_pools), paths_(node_spec(*node_of(input.objects))), cache_(cache) {}

  ClusterResult write(const Object& cluster) {
    const auto endpoints = endpoints_of(input_.objects, cluster);
    std::vector<EndpointRow> rows;
    std::vector<SlotEndpoint> members;
    for (const ResolvedEndpoint& endpoint : endpoints) {
      rows.push_back(endpoint_row(cluster, endpoint));
      members.push_back(member_of(endpoint, rows.back().state, members.size()));
    }
    let_in_slowly(cluster, endpoints, rows, members);
    hold_back_backups(endpoints, members);

    const ClusterRow row = cluster_row(cluster);
    std::vector<std::uint16_t> fresh;
    const auto& slots = slots_for(cluster, members, fresh);
    const std::uint32_t added = writer_.add_cluster(row, rows, slots);
    for (std::uint32_t i = 0; i < endpoints.size(); ++i) {
      const std::string& digits = endpoints[i].spec().sluice().quic_server_id();
      if (!digits.empty()) writer_.add_quic_server(added, i, bytes_of_hex(digits));
    }
    const auto has = [&](EndpointState state) {
      return std::any_of(rows.begin(), rows.end(), [&](const EndpointRow& one) { return one.state == state; });
    };
    return {added, has(EndpointState::unknown) && !has(EndpointState::up)};
  }

 private:
  EndpointRow endpoint_row(const Object& cluster, const ResolvedEndpoint& endpoint) {
    EndpointRow row{};
    row.address = endpoint.address;
    row.name = writer_.name(endpoint.object->key().name);
    row.id = *input_.ids.endpoints.find(endpoint_id_key(cluster, endpoint));
    row.port = be16(endpoint.port);
    row.weight = endpoint.weight;
    row.protocol = endpoint.protocol;
    row.state = state_of(cluster, endpoint.object->key(), endpoint.protocol);
    row.tunnel_source = tunnel_source(cluster_spec(cluster), endpoint.address);
    return row;
  }

  static SlotEndpoint member_of(const ResolvedEndpoint& endpoint, EndpointState state, std::size_t index) {
    SlotEndpoint member{};
    member.identity = endpoint_identity(endpoint.address, endpoint.port, endpoint.protocol);
    member.index = static_cast<std::uint16_t>(index);
    member.weight = endpoint.weight;
    member.takes_flows = state == EndpointState::up ? 1 : 0;
    return member;
  }

  // While one is let in slowly, all weights are tenths.
  void let_in_slowly(const Object& cluster, const std::vector<ResolvedEndpoint>& endpoints, std::vector<EndpointRow>& rows,
                     std::vector<SlotEndpoint>& members) const {
    std::vector<std::uint16_t> tenths;
    for (const ResolvedEndpoint& endpoint : endpoints) {
      const EndpointStatus status = endpoint_health(cluster, endpoint.object->key(), input_.health);
      tenths.push_back(ramp_of(cluster, status, input_.now_unix_ms).tenths);
    }
    if (std::all_of(tenths.begin(), tenths.end(), [](std::uint16_t share) { return share == ramp_steps; })) return;
    for (std::size_t i = 0; i < members.size(); ++i) {
      members[i].weight = rows[i].weight = static_cast<std::uint16_t>(members[i].weight * tenths[i]);
    }
  }

  // Backups wait while an endpoint of a lower number is up.
  static void hold_back_backups(const std::vector<ResolvedEndpoint>& endpoints, std::vector<SlotEndpoint>& members) {
    std::uint8_t first = UINT8_MAX;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (members[i].takes_flows != 0) first = std::min(first, endpoints[i].priority);
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (endpoints[i].priority != first) members[i].takes_flows = 0;
    }
  }

  ClusterRow cluster_row(const Object& cluster) {
    const api::ClusterSpec& spec = cluster_spec(cluster);
    const api::ClusterExtension& options = spec.sluice();
    ClusterRow row{};
    row.endpoint_flows_max = options.endpoint_connection_limit();
    row.name = writer_.name(cluster.key().name);
    row.id = *input_.ids.clusters.find(cluster_id_key(cluster));
    row.forwarding = forwarding_of(spec);
    row.proxy_protocol = proxy_protocol_of(spec);
    row.is_lb_port = options.has_lb_port() ? 1 : 0;
    if (options.has_source_persistence()) {
      row.source_length_v4 = static_cast<std::uint8_t>(96 + options.source_persistence().ipv4_prefix_length());
      row.source_length_v6 = static_cast<std::uint8_t>(options.source_persistence().ipv6_prefix_length());
    }
    row.snat_pool = has_snat(row.forwarding) ? snat_pools_.at(options.snat_pool()) : no_row;
    row.gue_port = options.has_gue_port() ? be16(static_cast<std::uint16_t>(options.gue_port())) : gue_port;
    row.choice = choice_of(algorithm_of(spec));
    return row;
  }

  std::uint16_t tunnel_source(const api::ClusterSpec& spec, IpAddress endpoint) const {
    if (!has_tunnel(forwarding_of(spec))) return 0;
    const auto path = paths_.toward(endpoint);
    LB_ASSERT(path && path->source);  // validated
    return *path->source;
  }

  static bool flows_end_when_down(const Object& cluster, std::uint8_t protocol) {
    const auto what = cluster_spec(cluster).sluice().on_endpoint_down();
    return what == api::ClusterExtension::RESET ||
           (what == api::ClusterExtension::REPICK && protocol == protocol_udp);
  }

  EndpointState state_of(const Object& cluster, const ObjectKey& endpoint, std::uint8_t protocol) const {
    if (!input_.drains.contains(endpoint)) {
      const EndpointState state = endpoint_health(cluster, endpoint, input_.health).state;
      return state == EndpointState::down && flows_end_when_down(cluster, protocol) ? EndpointState::ended : state;
    }
    const auto deadline = drain_deadline(cluster, endpoint, input_.drains);
    return deadline && *deadline <= input_.now_unix_ms ? EndpointState::ended
                                                       : EndpointState::draining;
  }

  const std::vector<std::uint16_t>& slots_for(const Object& cluster, const std::vector<SlotEndpoint>& members,
                                              std::vector<std::uint16_t>& fresh) {
    const Algorithm algorithm = algorithm_of(cluster_spec(cluster));
    const std::uint32_t maglev_size = cluster_spec(cluster).sluice().maglev_size();
    if (cache_ == nullptr) return fresh = build_slots(algorithm, maglev_size, members);
    std::string key = made_from(algorithm, maglev_size, members);
    if (const auto* kept = cache_->find(cluster.key(), key)) return *kept;
    return cache_->keep(cluster.key(), std::move(key), build_slots(algorithm, maglev_size, members));
  }

  const CompileInput& input_;
  SnapshotWriter& writer_;
  const SnatPoolRows& snat_pools_;
  const NodePaths paths_;
  SlotCache* cache_;
};

}  // namespace

ClusterRows write_clusters(SnapshotWriter& writer, const CompileInput& input, const std::vector<ResolvedVip>& vips,
                           const SnatPoolRows& snat_pools, SlotCache* cache) {
  ClusterCompiler compiler(input, writer, snat_pools, cache);
  ClusterRows rows;
  for (const ObjectPtr& cluster : compiled_clusters(vips)) rows[cluster->key()] = compiler.write(*cluster);
  return rows;
}

}  // namespace sluice
