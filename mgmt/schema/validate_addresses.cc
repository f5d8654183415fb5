// Each address has one owner: a VIP, an endpoint, the node or this host.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

// A single port counts before a range that holds it, and both before all ports: each of these once.
void check_port_claims(const std::vector<ResolvedVip>& vips, Findings& findings) {
  struct Claim {
    std::tuple<IpAddress, std::uint8_t, std::uint8_t, int> among;  // where, protocol, kind: claims that may conflict
    PortRange ports;
    const ResolvedVip* vip;
  };
  std::vector<Claim> claims;
  for (const ResolvedVip& vip : vips) {
    for (const PortRange& ports : vip.ports) {
      const int kind = vip.has_all_ports() ? 2 : ports.is_single() ? 0 : 1;
      claims.push_back({{vip.address, vip.prefix_length, vip.protocol, kind}, ports, &vip});
    }
  }
  std::stable_sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) {
    return std::tie(a.among, a.ports.first) < std::tie(b.among, b.ports.first);
  });
  const Claim* widest = nullptr;  // of those before, the one that reaches furthest
  for (const Claim& claim : claims) {
    const bool is_overlapping =
        widest != nullptr && widest->among == claim.among && claim.ports.first <= widest->ports.last;
    if (is_overlapping && !(claim.vip->is_named() && widest->vip->is_named())) {  // told apart by server name
      const PortRange both{claim.ports.first, std::min(claim.ports.last, widest->ports.last)};
      const ResolvedVip& first = *widest->vip;
      const ResolvedVip& vip = *claim.vip;
      Problem& problem =
          findings.error(vip.virtual_host->key(), "spec.advertise_policies",
                         fmt::format("{} is claimed twice: by {} ({}) and by {} ({})",
                                     vip_text(vip.where(), std::span(&both, 1), vip.protocol),
                                     first.virtual_host->key().text(), first.policy->key().text(),
                                     vip.virtual_host->key().text(), vip.policy->key().text()),
                         "an address, port and protocol of its own");
      problem.other_places = {{first.virtual_host->key(), "spec.advertise_policies"},
                              {vip.policy->key(), "spec.address"},
                              {first.policy->key(), "spec.address"}};
    }
    if (!is_overlapping || claim.ports.last > widest->ports.last) widest = &claim;
  }
}

// The VIPs that hold an address: one with the address itself, or of a network around it.
class VipAddresses {
 public:
  explicit VipAddresses(const std::vector<ResolvedVip>& vips) {
    for (const ResolvedVip& vip : vips) {
      lengths_.insert(vip.prefix_length);
      vips_.try_emplace({vip.prefix_length, vip.address}, &vip);
    }
  }
  const ResolvedVip* find(IpAddress address) const {
    for (const std::uint8_t length : lengths_) {
      const auto vip = vips_.find({length, IpPrefix::of(address, length).network});
      if (vip != vips_.end()) return vip->second;
    }
    return nullptr;
  }

 private:
  std::set<std::uint8_t, std::greater<>> lengths_;
  std::map<std::pair<std::uint8_t, IpAddress>, const ResolvedVip*> vips_;
};

}  // namespace

void validate_endpoint_addresses(const ObjectStore& objects, Findings& findings) {
  std::map<IpAddress, std::string> ours;
  if (const ObjectPtr node = node_of(objects)) {
    for (const api::NodePort& port : node_spec(*node).ports()) {
      for (const std::string& text : port.addresses()) {
        ours.emplace(*IpAddress::parse(text.substr(0, text.find('/'))),
                     fmt::format("port {}", port.name()));
      }
    }
    for (const api::SnatPool& pool : node_spec(*node).snat_pools()) {
      for (const std::string& text : pool.addresses()) {
        ours.emplace(*IpAddress::parse(text), fmt::format("SNAT pool {}", pool.name()));
      }
    }
  }
  for (const ObjectPtr& object : objects.of_kind("endpoint")) {
    const IpAddress address =
        *IpAddress::parse(static_cast<const api::Endpoint&>(object->effective()).spec().ip());
    if (address.is_multicast() || address.is_unspecified() || address.is_broadcast() ||
        address.is_loopback() || address.is_link_local()) {
      findings.error(object->key(), "spec.ip",
                     fmt::format("{} cannot be reached through a port", address.text()),
                     "a unicast address beyond a port");
    }
    if (const auto owner = ours.find(address); owner != ours.end()) {
      findings.error(object->key(), "spec.ip",
                     fmt::format("{} is claimed twice: by {} and by {} of the node", address.text(),
                                 object->key().text(), owner->second),
                     "an endpoint on another box, or at one of node.exception_port.addresses");
    }
  }
}

void validate_vip_addresses(const ObjectStore& objects, const std::vector<ResolvedVip>& vips,
                            const ValidationWorld& world, Findings& findings) {
  check_port_claims(vips, findings);
  const VipAddresses addresses(vips);
  for (const ObjectPtr& object : objects.of_kind("endpoint")) {
    const auto address =
        IpAddress::parse(static_cast<const api::Endpoint&>(object->effective()).spec().ip());
    const ResolvedVip* vip = addresses.find(*address);
    if (vip == nullptr) continue;
    findings.error(
        object->key(), "spec.ip",
        fmt::format(
            "{} is the address of {} and also of {} ({}): packets would go round in a circle",
            address->text(), object->key().text(), vip->virtual_host->key().text(),
            vip->policy->key().text()),
        "an endpoint with an address of its own");
  }
  const ObjectPtr node = node_of(objects);
  if (node == nullptr) return;
  const api::NodeSpec& spec = node_spec(*node);
  const auto claim = [&](IpAddress address, const std::string& what) {
    const ResolvedVip* vip = addresses.find(address);
    if (vip == nullptr) return;
    findings.error(vip->policy->key(), "spec.address",
                   fmt::format("{} is claimed twice: by {} as a VIP and by {}", address.text(),
                               vip->policy->key().text(), what),
                   "an address of its own for the VIP");
  };
  for (const api::NodePort& port : spec.ports()) {
    for (const std::string& text : port.addresses()) {
      claim(*IpAddress::parse(text.substr(0, text.find('/'))),
            fmt::format("port {} of {}", port.name(), node->key().text()));
    }
  }
  for (const api::NodeRoute& route : spec.routes()) {
    claim(*IpAddress::parse(route.next_hop()), fmt::format("the next hop of {}", route.prefix()));
  }
  for (const std::string& text : spec.exception_port().addresses()) claim(*IpAddress::parse(text), "the exception port");
  for (const api::SnatPool& pool : spec.snat_pools()) {
    for (const std::string& text : pool.addresses()) {
      claim(*IpAddress::parse(text),
            fmt::format("SNAT pool {} of {}", pool.name(), node->key().text()));
    }
  }
  const std::string tap = spec.has_exception_port() ? spec.exception_port().interface() : "";
  for (const HostAddress& host : world.host_addresses) {
    if (host.interface != tap)
      claim(host.address, fmt::format("this host, on interface {}", host.interface));
  }
}

}  // namespace sluice
