#include "dataplane/io/xdp_plan.h"

#include <gtest/gtest.h>

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
