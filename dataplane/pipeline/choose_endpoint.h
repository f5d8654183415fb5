// Which endpoint of a cluster gets a new flow.
//
// mgmt has put everything that can be known beforehand into the cluster's slot table: weights, health,
// drain, and the order that makes Maglev and ring hash consistent. What is left is to pick a slot.
#pragma once

#include "dataplane/pipeline/world.h"

namespace sluice {

// An index into endpoints_of(cluster). The cluster must have slots.
std::uint16_t choose_endpoint(World& world, const ClusterRow& cluster, const FlowKey& key);

// For VIPs that route QUIC: the endpoint that the packet's connection ID names, so that a connection stays where it is when
// its client changes address or port. nullptr: the choice is free, or the packet has its verdict.
const EndpointRow* choose_by_connection_id(World& world, Packet& packet);

}  // namespace sluice
