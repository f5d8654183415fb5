#include "mgmt/server/probes.h"

#include <fmt/core.h>

#include "mgmt/api/healthcheck.pb.h"
#include "mgmt/compile/endpoint_status.h"
#include "mgmt/model/fields.h"
#include "mgmt/schema/paths.h"
#include "mgmt/schema/resolve.h"

namespace sluice {
namespace {

// Checks of direct server return go the way of clients' packets, to the first VIP of the cluster: an endpoint that lacks
// the tunnel or the VIP is down. Without an exception port our kernel has no such way, and they ask the endpoint's own
// address as checks elsewhere do.
class DirectChecks {
 public:
  DirectChecks(const ObjectStore& objects, const IdMap& ids) : ids_(ids) {
    const ObjectPtr node = node_of(objects);
    if (node == nullptr || !node_spec(*node).has_exception_port()) return;
    spec_ = &node_spec(*node);
    paths_.emplace(*spec_);
    for (const ResolvedVip& vip : vips_of(objects)) {
      if (is_dsr(*vip.cluster)) vips_.try_emplace(vip.cluster->key(), vip);
    }
  }

  void redirect(const Object& cluster, const ResolvedEndpoint& endpoint, ProbeSpec& probe) const {
    const auto vip = vips_.find(cluster.key());
    if (vip == vips_.end()) return;
    const auto source = own_address(endpoint.address, vip->second.address.is_v4());
    const auto id = ids_.endpoints.find(endpoint_id_key(cluster, endpoint));
    if (!source || !id) return;
    probe.address = vip->second.address;
    probe.source = *source;
    probe.direct_id = *id;
    probe.place = fmt::format(
        "{} by {} at {}", address_port_text(probe.address, be16(probe.port)),
        api::ClusterExtension::Forwarding_Name(cluster_spec(cluster).sluice().forwarding()),
        endpoint.address.text());
  }

 private:
  // To which the endpoint answers: on the port that leads to it if there is one.
  std::optional<IpAddress> own_address(IpAddress endpoint, bool is_v4) const {
    const auto path = paths_->toward(endpoint);
    std::optional<IpAddress> elsewhere;
    for (int port = 0; port < spec_->ports_size(); ++port) {
      for (const std::string& text : spec_->ports(port).addresses()) {
        const IpAddress address = *IpAddress::parse(text.substr(0, text.find('/')));
        if (address.is_v4() != is_v4) continue;
        if (path && path->port == port) return address;
        if (!elsewhere) elsewhere = address;
      }
    }
    return elsewhere;
  }

  const IdMap& ids_;
  const api::NodeSpec* spec_ = nullptr;
  std::optional<NodePaths> paths_;
  std::map<ObjectKey, ResolvedVip> vips_;
};

}  // namespace

std::vector<ProbeSpec> probes_of(const ObjectStore& objects, const IdMap& ids) {
  const DirectChecks direct(objects, ids);
  std::map<HealthTarget, ProbeSpec> probes;
  for (const ObjectPtr& cluster : objects.of_kind("cluster")) {
    for (const api::ObjectRef& reference : cluster_spec(*cluster).health_checks()) {
      const ObjectPtr check =
          objects.find(target_of(reference, "healthcheck", cluster->key().space));
      if (check == nullptr) continue;
      const api::HealthcheckSpec& spec =
          static_cast<const api::Healthcheck&>(check->effective()).spec();
      for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *cluster)) {
        ProbeSpec probe;
        probe.target = {endpoint.object->key(), check->key()};
        probe.address = endpoint.address;
        probe.port = endpoint.spec().has_health_check_port()
                         ? static_cast<std::uint16_t>(endpoint.spec().health_check_port())
                         : endpoint.port;
        direct.redirect(*cluster, endpoint, probe);
        probe.send_payload = bytes_of_hex(spec.tcp_health_check().send_payload());
        probe.expected_response = bytes_of_hex(spec.tcp_health_check().expected_response());
        probe.policy = {{spec.interval() * 1000ull},
                        {spec.timeout() * 1000ull},
                        spec.healthy_threshold(),
                        spec.unhealthy_threshold(),
                        spec.jitter_percent()};
        probes.emplace(probe.target, std::move(probe));
      }
    }
  }
  std::vector<ProbeSpec> list;
  for (auto& entry : probes) list.push_back(std::move(entry.second));
  return list;
}

ProbePlaces places_of(const std::vector<ProbeSpec>& probes) {
  ProbePlaces places;
  for (const ProbeSpec& probe : probes) places[probe.target] = {probe.address, probe.port, probe.direct_id};
  return places;
}

HealthRecords health_after(const ObjectStore& before, const ObjectStore& after,
                           const HealthRecords& health, const ProbePlaces& places_before,
                           const ProbePlaces& places_after, std::uint64_t now_unix_ms) {
  HealthRecords kept;
  for (const auto& [target, record] : health) {
    const auto place = places_after.find(target);
    const auto old_place = places_before.find(target);
    if (place == places_after.end()) continue;
    if (old_place != places_before.end() && old_place->second != place->second) continue;
    kept.emplace(target, record);
  }
  for (const ObjectPtr& cluster : after.of_kind("cluster")) {
    const ObjectPtr old_cluster = before.find(cluster->key());
    if (old_cluster == nullptr) continue;
    std::map<ObjectKey, std::string> old_members;
    for (const ResolvedEndpoint& endpoint : endpoints_of(before, *old_cluster))
      old_members[endpoint.object->key()] = endpoint_id_key(*old_cluster, endpoint);
    for (const ResolvedEndpoint& endpoint : endpoints_of(after, *cluster)) {
      const ObjectKey& key = endpoint.object->key();
      const auto old_member = old_members.find(key);
      if (old_member == old_members.end() ||
          old_member->second != endpoint_id_key(*cluster, endpoint) ||
          endpoint_health(*old_cluster, key, health).state != EndpointState::up) {
        continue;
      }
      for (const api::ObjectRef& reference : cluster_spec(*cluster).health_checks()) {
        const HealthTarget target{key, target_of(reference, "healthcheck", cluster->key().space)};
        if (!places_before.contains(target))
          kept.try_emplace(target, HealthRecord{HealthVerdict::up, "", now_unix_ms});
      }
    }
  }
  return kept;
}

}  // namespace sluice
