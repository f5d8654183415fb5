#include "mgmt/compile/consequences.h"

#include <fmt/core.h>

#include <cstring>
#include <map>
#include <set>

namespace sluice {
namespace {

bool is_same(const PortRow& a, const PortRow& b, const Snapshot& before, const Snapshot& after) {
  const auto same_name = [&](NameRef x, NameRef y) { return before.name(x) == after.name(y); };
  return same_name(a.name, b.name) && same_name(a.profile, b.profile) &&
         same_name(a.eal_option, b.eal_option) && a.queue_count == b.queue_count && a.mtu == b.mtu;
}

void compare_vips(const Snapshot* before, const Snapshot& after, Consequences& found) {
  const auto texts_of = [](const Snapshot* snapshot) {
    std::map<std::string, const VipRow*> texts;
    if (snapshot == nullptr) return texts;
    for (const VipRow& vip : snapshot->vips()) {
      if (vip.is_named == 0) texts.emplace(snapshot->vip_text(vip), &vip);
    }
    return texts;
  };
  const auto old_texts = texts_of(before), new_texts = texts_of(&after);
  std::set<std::string> changed;
  for (const auto& [text, vip] : new_texts) {
    if (old_texts.contains(text)) continue;
    const VipRow* old = before == nullptr ? nullptr : before->vip_by_id(vip->id);
    if (old != nullptr && !old->is_exact() && !vip->is_exact()) {
      changed.insert(before->vip_text(*old));
      found.sentences.push_back(fmt::format("VIP {} becomes {}: flows stay at the ports and addresses that it keeps",
                                            before->vip_text(*old), text));
    } else {
      found.sentences.push_back(fmt::format("VIP {} is added", text));
    }
  }
  for (const auto& [text, vip] : old_texts) {
    if (!new_texts.contains(text) && !changed.contains(text)) {
      found.sentences.push_back(fmt::format("VIP {} is removed", text));
    }
  }
}

void compare_clusters(const Snapshot& before, const Snapshot& after, Consequences& found) {
  std::map<std::uint32_t, const ClusterRow*> by_id;
  for (const ClusterRow& cluster : after.clusters()) by_id[cluster.id] = &cluster;
  for (const ClusterRow& cluster : before.clusters()) {
    for (const EndpointRow& endpoint : before.endpoints_of(cluster)) {
      if (after.endpoint_by_id(endpoint.id) != nullptr) continue;
      found.removed_endpoints.push_back({endpoint.id, std::string(before.name(endpoint.name)),
                                         std::string(before.name(cluster.name))});
    }
    const auto now = by_id.find(cluster.id);
    if (now == by_id.end()) {
      found.sentences.push_back(
          fmt::format("cluster {} takes no more flows", before.name(cluster.name)));
      continue;
    }
    const ClusterRow& next = *now->second;
    if (next.slot_count == 0 && cluster.slot_count > 0) {
      found.sentences.push_back(fmt::format("cluster {} has no endpoint left that takes new flows",
                                            before.name(cluster.name)));
    } else if (cluster.choice == Choice::hash && next.choice == Choice::hash &&
               cluster.slot_count > 0) {
      const double share = remapped_share(before, cluster, after, next);
      if (share > 0) {
        found.sentences.push_back(fmt::format(
            "cluster {}: {:.2f} % of the slot table leads to another endpoint for new flows",
            before.name(cluster.name), share * 100));
      }
    }
  }
}

}  // namespace

double remapped_share(const Snapshot& before, const ClusterRow& cluster_before,
                      const Snapshot& after, const ClusterRow& cluster_after) {
  const auto old_slots = before.slots_of(cluster_before);
  const auto new_slots = after.slots_of(cluster_after);
  if (old_slots.empty() || new_slots.empty())
    return old_slots.empty() && new_slots.empty() ? 0.0 : 1.0;
  const auto old_endpoints = before.endpoints_of(cluster_before);
  const auto new_endpoints = after.endpoints_of(cluster_after);
  const std::size_t count = std::max(old_slots.size(), new_slots.size());
  std::size_t moved = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t old_id = old_endpoints[old_slots[i * old_slots.size() / count]].id;
    const std::uint32_t new_id = new_endpoints[new_slots[i * new_slots.size() / count]].id;
    if (old_id != new_id) ++moved;
  }
  return static_cast<double>(moved) / static_cast<double>(count);
}

Consequences compare(const Snapshot* before, const Snapshot& after) {
  Consequences found;
  compare_vips(before, after, found);
  if (before == nullptr) return found;
  compare_clusters(*before, after, found);
  bool has_same_ports = before->ports().size() == after.ports().size();
  for (std::size_t i = 0; has_same_ports && i < after.ports().size(); ++i) {
    has_same_ports = is_same(before->ports()[i], after.ports()[i], *before, after);
  }
  const NodeRow& old_node = before->node();
  const NodeRow& new_node = after.node();
  if (!has_same_ports)
    found.sentences.push_back("ports change: this takes effect when the dataplane is restarted");
  if (old_node.worker_count != new_node.worker_count ||
      std::memcmp(old_node.worker_cpus, new_node.worker_cpus, sizeof old_node.worker_cpus) != 0) {
    found.sentences.push_back("workers change: this takes effect when the dataplane is restarted");
  }
  if (old_node.flow_capacity != new_node.flow_capacity ||
      old_node.splice_capacity != new_node.splice_capacity) {
    found.sentences.push_back(
        "the flow capacity changes: this takes effect when the dataplane is restarted");
  }
  return found;
}

bool is_same_content(std::span<const std::byte> a, std::span<const std::byte> b) {
  if (a.size() != b.size() || a.size() < sizeof(SnapshotHeader)) return false;
  return std::memcmp(a.data() + sizeof(SnapshotHeader), b.data() + sizeof(SnapshotHeader),
                     a.size() - sizeof(SnapshotHeader)) == 0;
}

}  // namespace sluice
