#include "dataplane/io/xdp_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/io/small_snapshot.h"

namespace sluice::xdp_plan_test {
namespace {

IpAddress at(const char* text) { return *IpAddress::parse(text); }

TEST(XdpPlan, holds_vips_snat_addresses_and_own_addresses_once) {
  const auto buffer = small_snapshot(1, [](SnapshotWriter& writer) {
    AddressRow own{};
    own.address = at("10.1.0.1");
    own.prefix_length = 120;
    writer.add(own);
    VipRow second{};
    second.prefix_length = 128;
    second.address = at("10.9.0.1");  // the same address on another port
    second.name = second.virtual_host = writer.name("two");
    second.port = be16(443);
    second.protocol = 6;
    second.id = 2;
    second.idle_timeout_ms = 1;
    writer.add(second);
  });
  const XdpContent content = xdp_content_of(*Snapshot::verify(buffer.bytes()));
  const std::vector<IpAddress> expected = {at("10.1.0.1"), at("10.2.0.100"), at("10.9.0.1")};
  std::vector<IpAddress> sorted = expected;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(content.addresses, sorted);
  EXPECT_TRUE(content.sources.empty());  // FULL_NAT: replies come to SNAT addresses
}

TEST(XdpPlan, endpoints_of_nat_clusters_are_return_sources) {
  const auto buffer = small_snapshot(1, [](SnapshotWriter& writer) {
    ClusterRow cluster{};
    cluster.snat_pool = no_row;
    cluster.forwarding = Forwarding::nat;
    cluster.id = 7;
    EndpointRow endpoint{};
    endpoint.address = at("fd00::11");
    endpoint.port = be16(53);
    endpoint.protocol = 17;
    endpoint.id = 7;
    writer.add_cluster(cluster, {&endpoint, 1}, {});
  });
  const XdpContent content = xdp_content_of(*Snapshot::verify(buffer.bytes()));
  ASSERT_EQ(content.sources.size(), 2u);  // the first, of port 0, is that of fragments without ports
  EXPECT_EQ(content.sources[0].address, at("fd00::11"));
  EXPECT_EQ(content.sources[0].port, 0);
  EXPECT_EQ(content.sources[1].address, at("fd00::11"));
  EXPECT_EQ(content.sources[1].port, be16(53).raw);
  EXPECT_EQ(content.sources[1].protocol, 17);
}

TEST(XdpPlan, networks_of_vips_are_prefixes_and_lb_port_endpoints_reply_from_any_port) {
  const auto buffer = small_snapshot(1, [](SnapshotWriter& writer) {
    ClusterRow cluster{};
    cluster.snat_pool = no_row;
    cluster.forwarding = Forwarding::nat;
    cluster.is_lb_port = 1;
    cluster.id = 7;
    EndpointRow endpoint{};
    endpoint.address = at("10.2.0.12");
    endpoint.port = be16(1);
    endpoint.protocol = 6;
    endpoint.id = 7;
    VipRow vip{};
    vip.cluster = writer.add_cluster(cluster, {&endpoint, 1}, {});
    vip.address = at("10.9.1.0");
    vip.prefix_length = 120;
    vip.ports = VipPorts::all;
    vip.name = vip.virtual_host = writer.name("wide");
    vip.protocol = 6;
    vip.id = 2;
    vip.idle_timeout_ms = 1;
    writer.add(vip);
  });
  const Snapshot tables = *Snapshot::verify(buffer.bytes());
  const XdpContent content = xdp_content_of(tables);
  ASSERT_EQ(content.networks.size(), 1u);
  EXPECT_EQ(content.networks[0].bits, 120u);
  EXPECT_EQ(content.networks[0].bytes, at("10.9.1.0").bytes());
  EXPECT_EQ(std::count(content.addresses.begin(), content.addresses.end(), at("10.9.1.0")), 0);
  EXPECT_EQ(std::count_if(content.sources.begin(), content.sources.end(),
                          [](const XdpSourceKey& key) { return key.port == 0 && key.is_any_port == 1; }),
            1);
  EXPECT_TRUE(tables.is_return_source(at("10.2.0.12"), be16(777), 6));
  EXPECT_FALSE(tables.is_return_source(at("10.2.0.12"), be16(777), 17));
}

TEST(XdpPlan, a_change_names_only_what_differs) {
  const std::vector<IpAddress> from = {at("10.0.0.1"), at("10.0.0.2")};
  const std::vector<IpAddress> to = {at("10.0.0.2"), at("10.0.0.3")};
  const auto change = xdp_change(from, to);
  EXPECT_EQ(change.add, (std::vector<IpAddress>{at("10.0.0.3")}));
  EXPECT_EQ(change.remove, (std::vector<IpAddress>{{at("10.0.0.1")}}));
  EXPECT_TRUE(xdp_change(to, to).add.empty());
  EXPECT_TRUE(xdp_change(to, to).remove.empty());
}

}  // namespace
}  // namespace sluice::xdp_plan_test
