// VIPs: their advertise_policies, each with its virtual host and cluster, and what those that share a place must agree on.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "dataplane/net/name_patterns.h"
#include "mgmt/model/table_limits.h"
#include "mgmt/schema/paths.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

void check_prefix_length(const Object& policy, const api::AdvertisePolicySpec& spec, Findings& findings) {
  if (!spec.sluice().has_prefix_length()) return;
  const IpAddress address = *IpAddress::parse(spec.address());
  const std::uint32_t length = spec.sluice().prefix_length();
  const std::uint32_t min = address.is_v4() ? 8 : 32, max = address.is_v4() ? 32 : 128;
  if (length < min || length > max) {
    findings.error(policy.key(), "spec.sluice.prefix_length",
                   fmt::format("{} is no length for a network of {} VIPs", length, address.is_v4() ? "IPv4" : "IPv6"),
                   fmt::format("{} to {}", min, max));
    return;
  }
  const IpPrefix network = IpPrefix::of(address, static_cast<std::uint8_t>(length + (address.is_v4() ? 96 : 0)));
  if (network.network == address) return;
  findings.error(policy.key(), "spec.address", fmt::format("{} lies inside of {}", address.text(), network.text()),
                 fmt::format("the network's own address: {}", network.network.text()));
}

constexpr const char* accept_proxy_protocol_path = "spec.sluice.accept_proxy_protocol";

// To trust nobody would refuse every client, to trust everybody lets anyone say who he is: the first is never meant.
void check_trusted_prefixes(const Object& policy, const api::AdvertisePolicySpec& spec, Findings& findings) {
  if (!spec.sluice().has_accept_proxy_protocol()) return;
  const auto& prefixes = spec.sluice().accept_proxy_protocol().trusted_prefixes();
  if (prefixes.empty()) {
    findings.error(policy.key(), std::string(accept_proxy_protocol_path) + ".trusted_prefixes",
                   fmt::format("{} trusts no proxy, so it would refuse every client", policy.key().text()),
                   "the networks of the proxies before it, such as trusted_prefixes: [192.0.2.0/24, 2001:db8:1::/64]");
  }
  for (const std::string& prefix : prefixes) {
    if (!prefix.ends_with("/0")) continue;
    findings.warnings.push_back(fmt::format("{}: accept_proxy_protocol trusts {}: whoever reaches the VIP can say that he is anybody",
                                            policy.key().text(), prefix));
  }
}

void check_vip_address(const ResolvedVip& vip, Findings& findings) {
  const char* reason = vip.address.is_multicast()     ? "a multicast address"
                       : vip.address.is_loopback()    ? "a loopback address"
                       : vip.address.is_unspecified() ? "the unspecified address"
                       : vip.address.is_broadcast()   ? "the broadcast address"
                       : vip.address.is_link_local()  ? "a link-local address"
                                                      : nullptr;
  if (reason == nullptr) return;
  findings.error(vip.policy->key(), "spec.address",
                 fmt::format("{} is {}", vip.address.text(), reason), "a unicast address");
}

// The header is taken off where clients are answered before an endpoint is chosen.
void check_accept_proxy_protocol(const ResolvedVip& vip, Findings& findings) {
  if (!advertise_policy_spec(*vip.policy).sluice().has_accept_proxy_protocol()) return;
  const std::string host = vip.virtual_host->key().text();
  const auto forwarding = cluster_spec(*vip.cluster).sluice().forwarding();
  if (vip.protocol == protocol_udp) {
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("the PROXY protocol belongs to TCP, and {} ({}) is UDP", vip.text(), host), "no accept_proxy_protocol");
  } else if (forwarding != api::ClusterExtension::SPLICE) {
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("{} leads to {}, which forwards by {}: a PROXY header can be taken off only where clients are answered "
                               "before an endpoint is chosen",
                               host, vip.cluster->key().text(), api::ClusterExtension::Forwarding_Name(forwarding)),
                   "forwarding SPLICE of the cluster");
  }
}

constexpr std::uint32_t ipv6_mtu_min = 1280;

// Clients' packets reach an endpoint of direct server return as they came: its port is the VIP's, and its family too
// unless a tunnel takes IPv4 through IPv6.
void check_dsr_vip(const ObjectStore& objects, const ResolvedVip& vip, Findings& findings) {
  const auto& options = cluster_spec(*vip.cluster).sluice();
  const std::string mode = api::ClusterExtension::Forwarding_Name(options.forwarding());
  const bool is_l2 = options.forwarding() == api::ClusterExtension::DSR_L2;
  if (!vip.is_exact()) {
    findings.error(vip.policy->key(), "spec",
                   fmt::format("{} is more than one address and port, and {} forwards by {}", vip.text(),
                               vip.cluster->key().text(), mode),
                   "one address and one port, or forwarding FULL_NAT or NAT");
    return;
  }
  const std::uint16_t port_of_vip = vip.ports.front().first;
  const ObjectPtr node = node_of(objects);
  std::optional<NodePaths> paths;
  if (node != nullptr) paths.emplace(node_spec(*node));
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
    const std::string who = endpoint.object->key().text();
    if (endpoint.port != port_of_vip) {
      findings.error(endpoint.object->key(), "spec.port",
                     fmt::format("{} is reached by {} of {}, which leaves packets as they are, so "
                                 "its port {} cannot differ from port {} of {} ({})",
                                 who, mode, vip.cluster->key().text(), endpoint.port, port_of_vip,
                                 vip.policy->key().text(), vip.text()),
                     fmt::format("port {}", port_of_vip));
      return;
    }
    const bool is_4_in_6 = vip.address.is_v4() && !endpoint.address.is_v4() && !is_l2;
    if (vip.address.is_v4() != endpoint.address.is_v4() && !is_4_in_6) {
      findings.error(vip.policy->key(), "spec.address",
                     fmt::format("the {} VIP {} leads to the {} {} ({}) by {}",
                                 vip.address.is_v4() ? "IPv4" : "IPv6", vip.text(),
                                 endpoint.address.is_v4() ? "IPv4" : "IPv6", who,
                                 endpoint.address.text(), mode),
                     "a VIP and endpoints of one family; DSR_IPIP and DSR_GUE also take IPv4 to "
                     "IPv6 endpoints");
      return;
    }
    const auto path = paths ? paths->toward(endpoint.address) : std::nullopt;
    if (is_l2 || vip.address.is_v4() || !path) continue;
    const api::NodePort& port = node_spec(*node).ports(path->port);
    if (port.mtu() >= ipv6_mtu_min) continue;  // what the tunnel adds to a packet of so many bytes, fragments carry
    findings.error(node->key(), fmt::format("spec.ports[{}].mtu", path->port),
                   fmt::format("MTU {} of port {}, which leads to {} by {}, is less than IPv6 needs", port.mtu(), port.name(), who, mode),
                   fmt::format("at least {}", ipv6_mtu_min));
    return;
  }
}

void check_vip(const ObjectStore& objects, const ResolvedVip& vip, Findings& findings) {
  const std::uint8_t protocol = protocol_of(virtual_host_spec(*vip.virtual_host));
  if (vip.protocol != protocol) {
    findings.error(
        vip.policy->key(), "spec.protocol",
        fmt::format("{} is {} but {} is a {}", vip.policy->key().text(),
                    protocol_text(vip.protocol), vip.virtual_host->key().text(),
                    api::VirtualHostSpec::Proxy_Name(virtual_host_spec(*vip.virtual_host).proxy())),
        protocol == protocol_udp ? "UDP" : "TCP");
  }
  check_vip_address(vip, findings);
  if (vip.is_named() && !vip.is_exact()) {
    findings.error(vip.policy->key(), "spec",
                   fmt::format("{} is more than one address and port, and {} is chosen by server name", vip.text(),
                               vip.virtual_host->key().text()),
                   "one address and one port");
  }
  check_accept_proxy_protocol(vip, findings);
  if (is_dsr(*vip.cluster)) return check_dsr_vip(objects, vip, findings);
  if (cluster_spec(*vip.cluster).sluice().forwarding() != api::ClusterExtension::NAT) return;
  for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
    if (endpoint.address.is_v4() == vip.address.is_v4()) continue;
    findings.error(vip.policy->key(), "spec.address",
                   fmt::format("the {} VIP {} leads to the {} {} ({}): NAT does not translate "
                               "between the families",
                               vip.address.is_v4() ? "IPv4" : "IPv6", vip.text(),
                               endpoint.address.is_v4() ? "IPv4" : "IPv6",
                               endpoint.object->key().text(), endpoint.address.text()),
                   "a VIP and endpoints of one family, or forwarding FULL_NAT or SPLICE");
    return;
  }
}

// Virtual hosts that share a VIP: each name leads to one of them, and one at most takes the rest.
void check_server_names(const std::vector<ResolvedVip>& vips, Findings& findings) {
  // By VIP, name or expression, protocol. An expression cannot be taken for a name: its path stands before it.
  std::map<std::tuple<std::string, std::string, std::string>, const ResolvedVip*> owners;
  std::map<std::string, const ResolvedVip*> defaults;
  std::map<std::string, std::uint32_t> pattern_counts;
  const auto claim = [&](const ResolvedVip& vip, const char* field, const auto& names) {
    const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
    std::vector<std::string> protocols(spec.sluice().alpn().begin(), spec.sluice().alpn().end());
    if (protocols.empty()) protocols.emplace_back();
    for (int i = 0; i < names.size(); ++i) {
      for (const std::string& protocol : protocols) {
        const auto [owner, is_new] = owners.try_emplace({vip.text(), field + names[i], protocol}, &vip);
        if (is_new) continue;
        findings.error(vip.virtual_host->key(), fmt::format("{}[{}]", field, i),
                       fmt::format("{} on {} is claimed twice: by {} and by {}", names[i],
                                   vip.text(), owner->second->virtual_host->key().text(),
                                   vip.virtual_host->key().text()),
                       "each name once, or once for each ALPN protocol");
        break;
      }
    }
  };
  for (const ResolvedVip& vip : vips) {
    if (!vip.is_named()) continue;
    const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
    claim(vip, "spec.domains", spec.domains());
    claim(vip, "spec.sluice.domain_regexes", spec.sluice().domain_regexes());
    const auto own_count = static_cast<std::uint32_t>(spec.sluice().domain_regexes_size());
    std::uint32_t& count = pattern_counts[vip.text()];
    if (count <= name_patterns_max && count + own_count > name_patterns_max) {
      findings.error(vip.virtual_host->key(), "spec.sluice.domain_regexes",
                     fmt::format("the virtual hosts on {} have more than {} regular expressions", vip.text(),
                                 name_patterns_max),
                     fmt::format("at most {} on one VIP", name_patterns_max));
    }
    count += own_count;
    if (!spec.has_default_loadbalancer()) continue;
    const auto [first, is_new] = defaults.try_emplace(vip.text(), &vip);
    if (is_new) continue;
    findings.error(vip.virtual_host->key(), "spec.default_loadbalancer",
                   fmt::format("{} has two defaults: {} and {}", vip.text(),
                               first->second->virtual_host->key().text(),
                               vip.virtual_host->key().text()),
                   "at most one for a VIP");
  }
}

// A PROXY header comes before the server name: all virtual hosts on one VIP read it, from the same proxies, or none does.
void check_proxies_agree(const std::vector<ResolvedVip>& vips, Findings& findings) {
  std::map<std::string, const ResolvedVip*> firsts;
  for (const ResolvedVip& vip : vips) {
    if (!vip.is_named()) continue;
    const auto [first, is_new] = firsts.try_emplace(vip.text(), &vip);
    if (is_new || first->second->proxies() == vip.proxies()) continue;
    const ResolvedVip& other = *first->second;
    findings.error(vip.policy->key(), accept_proxy_protocol_path,
                   fmt::format("{} is shared by {} ({}) and {} ({}), which do not accept the PROXY protocol from the same proxies",
                               vip.text(), other.virtual_host->key().text(), other.policy->key().text(),
                               vip.virtual_host->key().text(), vip.policy->key().text()),
                   "the same trusted_prefixes in both, or one advertise_policy for both");
  }
}

// The source of an answer is all that tells through which VIP it was asked.
void check_one_packet_answers(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings) {
  const auto is_one_packet = [](const ResolvedVip& vip) { return virtual_host_spec(*vip.virtual_host).sluice().one_packet(); };
  if (std::none_of(vips.begin(), vips.end(), is_one_packet)) return;
  std::map<std::pair<IpAddress, std::uint16_t>, const ResolvedVip*> owners;
  std::set<const ResolvedVip*> refused;
  for (const ResolvedVip& vip : vips) {
    if (vip.protocol != protocol_udp) continue;
    if (is_one_packet(vip) && !vip.is_exact()) {
      findings.error(vip.policy->key(), "spec",
                     fmt::format("{} is more than one address and port, and {} has one_packet: answers would not tell "
                                 "which was asked",
                                 vip.text(), vip.virtual_host->key().text()),
                     "one address and one port");
    }
    for (const ResolvedEndpoint& endpoint : endpoints_of(objects, *vip.cluster)) {
      const auto [owner, is_new] = owners.try_emplace({endpoint.address, endpoint.port}, &vip);
      const ResolvedVip& first = *owner->second;
      if (is_new || (!is_one_packet(vip) && !is_one_packet(first)) || !refused.insert(&vip).second) continue;
      findings.error(vip.virtual_host->key(), "spec.sluice.one_packet",
                     fmt::format("{} answers for {} ({}) and for {} ({}): with one_packet nothing would tell which was asked",
                                 endpoint.object->key().text(), first.text(), first.virtual_host->key().text(), vip.text(),
                                 vip.virtual_host->key().text()),
                     "endpoints of its own for a virtual host with one_packet");
    }
  }
}

}  // namespace

void validate_advertise_policies(const ObjectStore& objects, Findings& findings) {
  for (const ObjectPtr& object : objects.of_kind("advertise_policy")) {
    const api::AdvertisePolicySpec& spec = advertise_policy_spec(*object);
    check_prefix_length(*object, spec, findings);
    check_trusted_prefixes(*object, spec, findings);
    const bool has_list = spec.port_choice_case() != api::AdvertisePolicySpec::PORT_CHOICE_NOT_SET;
    if (has_list != spec.sluice().has_all_ports()) continue;
    const char* given = spec.has_port() ? "port" : "port_ranges";
    findings.error(object->key(), has_list ? "spec.sluice.all_ports" : "spec",
                   has_list ? fmt::format("all_ports and {} are both given", given) : "no port is given",
                   "one of port, port_ranges and sluice.all_ports");
  }
}

void validate_vips(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings) {
  for (const ResolvedVip& vip : vips) check_vip(objects, vip, findings);
}

void validate_shared_vips(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings) {
  check_server_names(vips, findings);
  check_proxies_agree(vips, findings);
  check_one_packet_answers(objects, vips, findings);
  if (vips.size() > limits::vips) {
    findings.error(vips[0].virtual_host->key(), "spec.advertise_policies",
                   fmt::format("there are {} VIPs", vips.size()),
                   fmt::format("at most {}", limits::vips));
  }
}

}  // namespace sluice
