// Follows the references from virtual_host to cluster: one answer for validation and for compile.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/net/port_range.h"
#include "mgmt/api/advertise_policy.pb.h"
#include "mgmt/api/cluster.pb.h"
#include "mgmt/api/endpoint.pb.h"
#include "mgmt/api/node.pb.h"
#include "mgmt/api/route.pb.h"
#include "mgmt/api/virtual_host.pb.h"
#include "mgmt/model/objects.h"

namespace sluice {

inline constexpr std::uint8_t protocol_tcp = 6;
inline constexpr std::uint8_t protocol_udp = 17;

struct ResolvedVip {
  ObjectPtr virtual_host;
  ObjectPtr policy;
  ObjectPtr cluster;
  IpAddress address;
  std::vector<PortRange> ports;      // in rising order; all_ports for all
  std::uint8_t protocol = 0;
  std::uint8_t prefix_length = 128;  // of 128: `address` is a network

  IpPrefix where() const { return {address, prefix_length}; }
  bool has_all_ports() const { return ports.front() == all_ports; }
  bool is_exact() const { return prefix_length == 128 && ports.size() == 1 && ports.front().is_single(); }
  std::string text() const;  // "10.0.0.1:80/tcp"
  bool is_named() const;     // chosen by server name: may share its address and port with others
  std::vector<std::string> proxies() const;  // accept_proxy_protocol: who is trusted, sorted; none without it
};

struct ResolvedEndpoint {
  ObjectPtr object;
  IpAddress address;
  std::uint16_t port = 0;
  std::uint8_t protocol = 0;
  std::uint16_t weight = 1;
  std::uint8_t priority = 0;

  const api::EndpointSpec& spec() const {
    return static_cast<const api::Endpoint&>(object->effective()).spec();
  }
};

std::uint8_t protocol_number(api::Protocol protocol);
const char* protocol_text(std::uint8_t protocol);            // "tcp", "udp"
std::uint8_t protocol_of(const api::VirtualHostSpec& spec);  // of the proxies we support
std::uint32_t idle_timeout_ms_of(const api::VirtualHostSpec& spec);

// The cluster that the first entry of the first route leads to; nullptr when something is missing.
ObjectPtr cluster_of(const ObjectStore& objects, const Object& virtual_host);
// The endpoints of a cluster, sorted by key; dangling references are left out.
std::vector<ResolvedEndpoint> endpoints_of(const ObjectStore& objects, const Object& cluster);
// Every VIP of every complete virtual_host, sorted by (virtual_host, advertise_policy).
std::vector<ResolvedVip> vips_of(const ObjectStore& objects);
// The node; nullptr when there is none.
ObjectPtr node_of(const ObjectStore& objects);

inline const api::ClusterSpec& cluster_spec(const Object& object) {
  return static_cast<const api::Cluster&>(object.effective()).spec();
}
inline const api::VirtualHostSpec& virtual_host_spec(const Object& object) {
  return static_cast<const api::VirtualHost&>(object.effective()).spec();
}
inline const api::AdvertisePolicySpec& advertise_policy_spec(const Object& object) {
  return static_cast<const api::AdvertisePolicy&>(object.effective()).spec();
}
inline const api::NodeSpec& node_spec(const Object& object) {
  return static_cast<const api::Node&>(object.effective()).spec();
}


// Direct server return: the endpoint gets the client's packets as they are and answers the client itself.
inline bool is_dsr(const Object& cluster) {
  const auto forwarding = cluster_spec(cluster).sluice().forwarding();
  return forwarding == api::ClusterExtension::DSR_L2 || forwarding == api::ClusterExtension::DSR_IPIP ||
         forwarding == api::ClusterExtension::DSR_GUE;
}

}  // namespace sluice
