#include "mgmt/schema/paths.h"

namespace sluice {

NodePaths::NodePaths(const api::NodeSpec& spec) {
  for (int port = 0; port < spec.ports_size(); ++port) {
    for (const std::string& text : spec.ports(port).addresses()) {
      own_.push_back({*IpAddress::parse(text.substr(0, text.find('/'))), *IpPrefix::parse(text), port});
    }
  }
  for (const api::NodeRoute& route : spec.routes()) {
    routes_.push_back({*IpPrefix::parse(route.prefix()), *IpAddress::parse(route.next_hop())});
  }
}

const NodePaths::Own* NodePaths::connected(IpAddress address) const {
  const Own* best = nullptr;
  for (const Own& own : own_) {
    if (!own.network.contains(address)) continue;
    if (best == nullptr || own.network.length > best->network.length) best = &own;
  }
  return best;
}

std::optional<NodePaths::Path> NodePaths::toward(IpAddress destination) const {
  const Own* neighbor = connected(destination);
  const Route* route = nullptr;
  for (const Route& candidate : routes_) {
    if (!candidate.prefix.contains(destination)) continue;
    if (route == nullptr || candidate.prefix.length > route->prefix.length) route = &candidate;
  }
  Path path;
  IpAddress next_hop = destination;
  if (neighbor != nullptr && (route == nullptr || route->prefix.length <= neighbor->network.length)) {
    path.is_connected = true;
  } else {
    if (route == nullptr) return std::nullopt;
    next_hop = route->next_hop;
    neighbor = connected(next_hop);
    if (neighbor == nullptr) return std::nullopt;
  }
  path.port = neighbor->port;
  for (std::size_t i = 0; i < own_.size(); ++i) {
    if (own_[i].port != path.port || own_[i].address.is_v4() != destination.is_v4()) continue;
    const bool is_near = own_[i].network.contains(next_hop);
    if (!path.source || is_near) path.source = static_cast<std::uint16_t>(i);
    if (is_near) break;
  }
  return path;
}

}  // namespace sluice
