#include "mgmt/compile/consequences.h"

#include <fmt/core.h>

#include <algorithm>
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

// Ports of their own are opened at the start; VLAN sub-interfaces are only numbers to the dataplane.
void compare_ports(const Snapshot& before, const Snapshot& after, Consequences& found) {
  const auto ports_of = [](const Snapshot& snapshot, bool wants_sub_interfaces) {
    std::map<std::string_view, const PortRow*> ports;
    for (const PortRow& port : snapshot.ports()) {
      if (port.is_sub_interface() == wants_sub_interfaces) ports.emplace(snapshot.name(port.name), &port);
    }
    return ports;
  };
  const auto is_equal = [&](const auto& a, const auto& b) {
    return a.first == b.first && is_same(*a.second, *b.second, before, after);
  };
  const auto old_ports = ports_of(before, false), new_ports = ports_of(after, false);
  if (!std::equal(old_ports.begin(), old_ports.end(), new_ports.begin(), new_ports.end(), is_equal)) {
    found.sentences.push_back("ports change: this takes effect when the dataplane is restarted");
  }
  const auto text_of = [](const Snapshot& snapshot, const PortRow& port) {
    return fmt::format("VLAN {} on port {}", port.vlan, snapshot.name(snapshot.ports()[port.parent].name));
  };
  const auto old_vlans = ports_of(before, true), new_vlans = ports_of(after, true);
  for (const auto& [name, port] : new_vlans) {
    const auto old = old_vlans.find(name);
    const std::string text = text_of(after, *port);
    if (old == old_vlans.end()) {
      found.sentences.push_back(fmt::format("sub-interface {} is added: {}", name, text));
    } else if (text_of(before, *old->second) != text || old->second->mtu != port->mtu) {
      found.sentences.push_back(fmt::format("sub-interface {} becomes {}, MTU {}", name, text, port->mtu));
    }
  }
  for (const auto& [name, port] : old_vlans) {
    if (!new_vlans.contains(name)) found.sentences.push_back(fmt::format("sub-interface {} is removed: {}", name, text_of(before, *port)));
  }
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
  compare_ports(*before, after, found);
  const NodeRow& old_node = before->node();
  const NodeRow& new_node = after.node();
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
