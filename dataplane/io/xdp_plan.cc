#include "dataplane/io/xdp_plan.h"

#include <algorithm>
#include <iterator>

namespace sluice {
namespace {

template <class Key>
void sort_unique(std::vector<Key>& keys) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
}

template <class Key>
XdpChange<Key> change_of(const std::vector<Key>& from, const std::vector<Key>& to) {
  XdpChange<Key> change;
  std::set_difference(to.begin(), to.end(), from.begin(), from.end(), std::back_inserter(change.add));
  std::set_difference(from.begin(), from.end(), to.begin(), to.end(), std::back_inserter(change.remove));
  return change;
}

}  // namespace

XdpContent xdp_content_of(const Snapshot& tables) {
  XdpContent content;
  for (const VipRow& vip : tables.vips()) {
    if (vip.prefix_length == 128) content.addresses.push_back(vip.address);
    else content.networks.push_back({vip.prefix_length, vip.address.bytes()});
  }
  for (const SnatPoolRow& pool : tables.snat_pools()) {
    for (const IpAddress& address :
         tables.snat_addresses().subspan(pool.first_address, pool.address_count_v4 + pool.address_count_v6)) {
      content.addresses.push_back(address);
    }
  }
  for (const AddressRow& own : tables.addresses()) content.addresses.push_back(own.address);
  for (const ClusterRow& cluster : tables.clusters()) {
    if (cluster.forwarding != Forwarding::nat) continue;
    for (const EndpointRow& endpoint : tables.endpoints_of(cluster)) {
      content.sources.push_back({endpoint.address, endpoint.port.raw, endpoint.protocol, 0, 0});
      content.sources.push_back({endpoint.address, 0, endpoint.protocol, 0, 0});  // its fragments
      if (cluster.is_lb_port != 0) content.sources.push_back({endpoint.address, 0, endpoint.protocol, 1, 0});
    }
  }
  for (const BlockedRow& row : tables.blocked()) content.blocked.push_back({row.length, row.network.bytes()});
  sort_unique(content.blocked);
  sort_unique(content.networks);
  sort_unique(content.addresses);
  sort_unique(content.sources);
  return content;
}

XdpChange<IpAddress> xdp_change(const std::vector<IpAddress>& from, const std::vector<IpAddress>& to) {
  return change_of(from, to);
}

XdpChange<XdpPrefixKey> xdp_change(const std::vector<XdpPrefixKey>& from, const std::vector<XdpPrefixKey>& to) {
  return change_of(from, to);
}

XdpChange<XdpSourceKey> xdp_change(const std::vector<XdpSourceKey>& from, const std::vector<XdpSourceKey>& to) {
  return change_of(from, to);
}

}  // namespace sluice
