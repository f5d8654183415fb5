#include "tests/traces/model.h"

namespace sluice::trace {

const std::vector<PortModel>& Model::usual_ports() {
  static const std::vector<PortModel> ports = {{"outside", {"10.1.0.1/24", "fd00:1::1/64"}, 1'500, true, 0, {}},
                                               {"inside", {"10.2.0.1/24", "fd00:2::1/64"}, 1'500, true, 0, {}}};
  return ports;
}

std::vector<RouteModel> Model::routes() const {
  std::vector<RouteModel> all = routes_;
  if (is_usual_routes_ && is_usual_ports_) {
    all.push_back({*IpPrefix::parse("0.0.0.0/0"), *IpAddress::parse("10.1.0.254"), ""});
    all.push_back({*IpPrefix::parse("::/0"), *IpAddress::parse("fd00:1::fe"), ""});
  }
  for (const PortModel& port : ports()) {
    for (const std::string& address : port.addresses) all.push_back({*IpPrefix::parse(address), {}, port.name});
  }
  for (RouteModel& route : all) {
    if (!route.port.empty()) continue;
    for (const PortModel& port : ports()) {
      for (const std::string& address : port.addresses) {
        const auto network = IpPrefix::parse(address);
        if (network->is_v4() == route.next_hop.is_v4() && network->contains(route.next_hop)) route.port = port.name;
      }
    }
  }
  return all;
}

std::optional<Model::Hop> Model::hop_to(IpAddress destination) const {
  if (is_kernel_address(destination)) return Hop{destination, exception_port};
  std::optional<RouteModel> best;
  for (const RouteModel& route : routes()) {
    if (route.prefix.is_v4() != destination.is_v4() || !route.prefix.contains(destination)) continue;
    if (!best || route.prefix.length > best->prefix.length) best = route;
  }
  if (!best) return std::nullopt;
  for (std::size_t i = 0; i < ports().size(); ++i) {
    if (ports()[i].name == best->port) {
      return Hop{best->next_hop.is_unset() ? destination : best->next_hop, static_cast<std::uint16_t>(i)};
    }
  }
  return std::nullopt;
}

const EndpointModel* Model::endpoint(const std::string& text) const {
  for (const ClusterModel& cluster : clusters_) {
    for (const EndpointModel& endpoint : cluster.endpoints) {
      if (endpoint.text == text) return &endpoint;
    }
  }
  return nullptr;
}

const VipModel* Model::vip(const std::string& text) const {
  const auto found = std::find_if(vips_.begin(), vips_.end(), [&](const VipModel& vip) { return vip.text == text; });
  return found == vips_.end() ? nullptr : &*found;
}

}  // namespace sluice::trace
