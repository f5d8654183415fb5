#include "mgmt/compile/ids.h"

#include <fmt/core.h>

#include <algorithm>

#include "dataplane/tables/snapshot_rows.h"

namespace sluice {
namespace {

constexpr std::uint32_t clusters_max = 65'536;

}  // namespace

Result<void> IdSpace::live(const std::vector<std::string>& keys) {
  if (keys.size() > limit_)
    return fail(fmt::format("{} ids are needed, there are {}", keys.size(), limit_));
  ++turn_;
  auto key = keys.begin();
  for (auto& [name, entry] : entries_) {  // both are sorted
    while (key != keys.end() && *key < name) ++key;
    const bool is_living = key != keys.end() && *key == name;
    if (is_living) {
      entry.gone = 0;
    } else if (entry.gone == 0) {
      entry.gone = turn_;
    }
  }
  for (const std::string& name : keys) {
    if (entries_.contains(name)) continue;
    std::uint32_t id = next_;
    if (next_ < limit_) {
      ++next_;
    } else {
      auto oldest = entries_.end();
      for (auto it = entries_.begin(); it != entries_.end(); ++it) {
        if (it->second.gone != 0 &&
            (oldest == entries_.end() || it->second.gone < oldest->second.gone))
          oldest = it;
      }
      id = oldest->second.id;  // one is gone, for there are more ids than living keys
      used_.erase(id);
      entries_.erase(oldest);
    }
    entries_[name] = {id, 0};
    used_.insert(id);
  }
  return {};
}

std::optional<std::uint32_t> IdSpace::find(const std::string& key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  return found->second.id;
}

bool IdSpace::restore(const std::string& key, Entry entry) {
  if (entry.id >= limit_ || entries_.contains(key) || !used_.insert(entry.id).second) return false;
  entries_[key] = entry;
  next_ = std::max(next_, entry.id + 1);
  turn_ = std::max(turn_, entry.gone);
  return true;
}

IdMap::IdMap() : vips(vips_max), clusters(clusters_max), endpoints(endpoints_max) {}

std::string vip_id_key(const ResolvedVip& vip) {
  const ObjectKey& host = vip.virtual_host->key();
  // Ports may be added to a list, and addresses to a network, while its flows stay.
  if (!vip.is_exact()) {
    const ObjectKey& policy = vip.policy->key();
    return fmt::format("{}/{} {}", policy.space, policy.name, protocol_text(vip.protocol));
  }
  return vip.is_named() ? fmt::format("{} {}/{}", vip.text(), host.space, host.name) : vip.text();
}

std::string listener_id_key(const ResolvedVip& vip) {
  return vip.text();
}

std::string cluster_id_key(const Object& cluster) {
  return cluster.key().space + "/" + cluster.key().name;
}

std::string endpoint_id_key(const Object& cluster, const ResolvedEndpoint& endpoint) {
  return fmt::format("{} {}/{}", cluster_id_key(cluster),
                     address_port_text(endpoint.address, be16(endpoint.port)),
                     protocol_text(endpoint.protocol));
}

std::vector<ObjectPtr> compiled_clusters(const std::vector<ResolvedVip>& vips) {
  std::map<ObjectKey, ObjectPtr> clusters;
  for (const ResolvedVip& vip : vips) clusters.emplace(vip.cluster->key(), vip.cluster);
  std::vector<ObjectPtr> sorted;
  for (const auto& entry : clusters) sorted.push_back(entry.second);
  return sorted;
}

Result<void> IdMap::cover(const ObjectStore& objects) {
  std::vector<std::string> vip_keys;
  std::vector<std::string> cluster_keys;
  std::vector<std::string> endpoint_keys;
  const auto resolved = vips_of(objects);
  for (const ResolvedVip& vip : resolved) {
    vip_keys.push_back(vip_id_key(vip));
    if (vip.is_named()) vip_keys.push_back(listener_id_key(vip));
  }
  for (const ObjectPtr& cluster : compiled_clusters(resolved)) {
    cluster_keys.push_back(cluster_id_key(*cluster));
    for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *cluster)) {
      endpoint_keys.push_back(endpoint_id_key(*cluster, endpoint));
    }
  }
  for (auto* keys : {&vip_keys, &cluster_keys, &endpoint_keys}) {
    std::sort(keys->begin(), keys->end());
    keys->erase(std::unique(keys->begin(), keys->end()), keys->end());
  }
  if (auto given = vips.live(vip_keys); !given) return fail("VIPs: " + given.error().message);
  if (auto given = clusters.live(cluster_keys); !given)
    return fail("clusters: " + given.error().message);
  if (auto given = endpoints.live(endpoint_keys); !given)
    return fail("endpoints: " + given.error().message);
  return {};
}

}  // namespace sluice
