// By which port the node reaches an address, and with which of its own addresses: what the dataplane's routes will say.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/net/address.h"
#include "mgmt/api/node.pb.h"

namespace sluice {

class NodePaths {
 public:
  explicit NodePaths(const api::NodeSpec& spec);

  struct Path {
    int port = 0;                         // index in spec.ports
    bool is_connected = false;            // a neighbour: no router between
    std::optional<std::uint16_t> source;  // the node's address toward it, counted over all ports; nothing: none of the family
  };
  // Nothing: no route leads there.
  std::optional<Path> toward(IpAddress destination) const;

 private:
  struct Own {
    IpAddress address;
    IpPrefix network;
    int port;
  };
  struct Route {
    IpPrefix prefix;
    IpAddress next_hop;
  };
  const Own* connected(IpAddress address) const;  // of the narrowest network

  std::vector<Own> own_;  // in the order of the snapshot's addresses
  std::vector<Route> routes_;
};

}  // namespace sluice
