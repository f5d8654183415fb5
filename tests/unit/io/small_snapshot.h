// A snapshot with two ports, one VIP and one endpoint, for tests that need some snapshot.
#pragma once

#include <functional>

#include "dataplane/base/assert.h"
#include "dataplane/tables/snapshot_writer.h"

namespace sluice {

inline PortRow small_port(SnapshotWriter& writer, std::string_view name, std::string_view device) {
  PortRow row{};
  row.name = writer.name(name);
  row.device = writer.name(device);
  row.profile = writer.name("ring");
  row.driver = writer.name("net_ring");
  row.eal_option = writer.name("--vdev=net_ring0");
  row.queue_count = 1;
  row.mtu = 1'500;
  row.is_rss_stable = 1;
  return row;
}

inline SnapshotBuffer small_snapshot(std::uint64_t generation,
                                     const std::function<void(SnapshotWriter&)>& change = {}) {
  SnapshotWriter writer;
  writer.node.flow_capacity = 64;
  writer.node.worker_count = 1;
  writer.node.tcp_opening_ms = writer.node.tcp_closing_ms = 10'000;
  writer.node.tcp_closed_ms = writer.node.tcp_reset_ms = 5'000;
  writer.add(small_port(writer, "outside", "veth0"));
  writer.add(small_port(writer, "inside", "veth1"));
  const IpAddress snat[] = {*IpAddress::parse("10.2.0.100")};
  ClusterRow cluster{};
  cluster.name = writer.name("web");
  cluster.snat_pool = writer.add_snat_pool("inside", snat, 1'024, 65'535);
  EndpointRow endpoint{};
  endpoint.name = writer.name("web-1");
  endpoint.address = *IpAddress::parse("10.2.0.11");
  endpoint.port = be16(8'080);
  endpoint.protocol = 6;
  endpoint.id = 1;
  endpoint.weight = 1;
  const std::uint16_t slots[] = {0};
  VipRow vip{};
  vip.prefix_length = 128;
  vip.cluster = writer.add_cluster(cluster, {&endpoint, 1}, slots);
  vip.name = writer.name("web");
  vip.virtual_host = writer.name("shop");
  vip.address = *IpAddress::parse("10.9.0.1");
  vip.port = be16(80);
  vip.protocol = 6;
  vip.id = 1;
  vip.idle_timeout_ms = 60'000;
  writer.add(vip);
  if (change) change(writer);
  auto buffer = writer.finish(generation);
  LB_ASSERT(buffer.has_value());
  return std::move(*buffer);
}

}  // namespace sluice
