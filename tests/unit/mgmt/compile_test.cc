// compile(): rows, health, drain, ids, and that nothing depends on the order of edits.
#include "mgmt/compile/compile.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "mgmt/compile/consequences.h"
#include "mgmt/text/config_reader.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::compile_test {
namespace {

const std::string checked_yaml =
    replaced(base_yaml(), "  sluice: {algorithm: MAGLEV",
             "  health_checks: [{name: tcp}]\n  sluice: {algorithm: MAGLEV") +
    "---\nkind: healthcheck\nmetadata: {name: tcp}\nspec: {tcp_health_check: {}}\n";

HealthTarget target(const std::string& endpoint) {
  return {{"endpoint", "default", endpoint}, {"healthcheck", "default", "tcp"}};
}

struct View {
  explicit View(SnapshotBuffer given)
      : buffer(std::move(given)), snapshot(*Snapshot::verify(buffer.bytes())) {}
  SnapshotBuffer buffer;
  Snapshot snapshot;
  const ClusterRow& cluster() const { return snapshot.clusters()[0]; }
  EndpointState state(std::size_t i) const { return snapshot.endpoints_of(cluster())[i].state; }
};

TEST(Compile, ASubInterfaceHasTheDeviceOfItsParent) {
  const View view(compiled(objects_from(replaced(base_yaml(), "name: inside, profile: af_xdp, device: veth-in",
                                                 "name: inside, vlan: 4094, parent: outside, mtu: 1400"))));
  const PortRow& row = view.snapshot.ports()[1];
  const PortRow& parent = view.snapshot.ports()[0];
  EXPECT_TRUE(row.is_sub_interface());
  EXPECT_EQ(row.vlan, 4'094);
  EXPECT_EQ(row.parent, 0);
  EXPECT_EQ(row.mtu, 1'400);
  EXPECT_EQ(view.snapshot.name(row.name), "inside");
  EXPECT_EQ(view.snapshot.name(row.eal_option), view.snapshot.name(parent.eal_option));
  EXPECT_FALSE(parent.is_sub_interface());
  EXPECT_EQ(view.snapshot.find_route(*IpAddress::parse("10.2.0.11"))->port, 1);
}

TEST(Compile, RowsOfTheBaseConfiguration) {
  const View view(compiled(objects_from(base_yaml())));
  const Snapshot& s = view.snapshot;
  EXPECT_EQ(s.node().worker_count, 2u);
  EXPECT_EQ(s.node().tcp_closing_ms, 60'000u);
  ASSERT_EQ(s.ports().size(), 2u);
  EXPECT_EQ(s.name(s.ports()[1].eal_option),
            "--vdev=net_af_xdp1,iface=veth-in,start_queue=0,queue_count=1,xdp_prog={xdp_prog}");
  EXPECT_EQ(s.name(s.ports()[0].driver), "net_af_xdp");
  EXPECT_EQ(s.ports()[0].is_bifurcated, 1);
  EXPECT_EQ(s.ports()[0].steering[0], Steering::handoff);
  ASSERT_EQ(s.addresses().size(), 4u);
  EXPECT_EQ(s.routes().size(), 5u) << "four connected networks and the default";
  const RouteRow* route = s.find_route(*IpAddress::parse("192.0.2.7"));
  ASSERT_NE(route, nullptr);
  EXPECT_EQ(route->next_hop, *IpAddress::parse("10.1.0.254"));
  EXPECT_EQ(route->port, 0);
  EXPECT_TRUE(s.find_route(*IpAddress::parse("10.2.0.11"))->next_hop.is_unset());
  EXPECT_EQ(s.find_route(*IpAddress::parse("10.2.0.11"))->port, 1);
  ASSERT_EQ(s.vips().size(), 1u);
  EXPECT_EQ(s.vips()[0].idle_timeout_ms, 3'600'000u);
  EXPECT_EQ(s.vips()[0].state, VipState::ready);
  EXPECT_EQ(view.cluster().slot_count, 65537u);
  EXPECT_EQ(view.cluster().choice, Choice::hash);
  EXPECT_EQ(s.snat_pools()[0].port_first, 1024);
  EXPECT_EQ(s.snat_pools()[0].address_count_v6, 1u);
}

TEST(Compile, ASplicedClusterAndItsProxyProtocol) {
  const std::string yaml =
      replaced(replaced(base_yaml(), "forwarding: FULL_NAT", "forwarding: SPLICE"),
               "  sluice: {algorithm: MAGLEV", "  proxy_protocol_v1: {}\n  sluice: {algorithm: MAGLEV");
  const View view(compiled(objects_from(yaml)));
  EXPECT_EQ(view.cluster().forwarding, Forwarding::splice);
  EXPECT_EQ(view.cluster().proxy_protocol, ProxyProtocol::version_1);
  EXPECT_EQ(view.snapshot.node().splice_capacity, 65'536u);
  EXPECT_EQ(view.snapshot.vips()[0].syn_cookies, SynCookies::never);
  const View cookies(compiled(objects_from(replaced(
      base_yaml(), "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {syn_cookies: ALWAYS}"))));
  EXPECT_EQ(cookies.snapshot.vips()[0].syn_cookies, SynCookies::always);
  const View switched(compiled(objects_from(replaced(
      base_yaml(), "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {syn_cookies: ON_THRESHOLD}"))));
  EXPECT_EQ(switched.snapshot.vips()[0].syn_cookies, SynCookies::on_threshold);
  EXPECT_EQ(switched.snapshot.limits_of(switched.snapshot.vips()[0])->cookie_threshold, 4'096u);
}

TEST(Compile, AnAddressOfTheExceptionPortHasItsOwnRoute) {
  const View view(compiled(objects_from(replaced(base_yaml(), "  workers: [0, 1]",
                                                 "  workers: [0, 1]\n  exception_port: {interface: sluice0, addresses: [10.2.0.77]}"))));
  const Snapshot& s = view.snapshot;
  EXPECT_EQ(s.find_route(*IpAddress::parse("10.2.0.77"))->port, exception_port);
  EXPECT_NE(s.find_route(*IpAddress::parse("10.2.0.78"))->port, exception_port);
  EXPECT_EQ(s.find_address(*IpAddress::parse("10.2.0.77")).kind, AddressKind::own);
  EXPECT_FALSE(s.answers_for(*IpAddress::parse("10.2.0.77"), 0));
}

TEST(Compile, EndpointsOfDirectServerReturnAndWhereTheirOuterHeadersComeFrom) {
  std::string yaml = replaced(base_yaml(), "forwarding: FULL_NAT, snat_pool: inside", "forwarding: DSR_GUE");
  yaml = replaced(replaced(yaml, "ip: 10.2.0.11, port: 8080", "ip: \"fd00:2::11\", port: 80"),
                  "ip: 10.2.0.12, port: 8080", "ip: 10.7.0.12, port: 80");
  const View view(compiled(objects_from(yaml)));
  const Snapshot& s = view.snapshot;
  EXPECT_EQ(view.cluster().forwarding, Forwarding::dsr_gue);
  EXPECT_EQ(view.cluster().snat_pool, no_row);
  EXPECT_EQ(view.cluster().gue_port, be16(6'080));
  const auto source_of = [&](std::size_t i) { return s.addresses()[s.endpoints_of(view.cluster())[i].tunnel_source].address; };
  EXPECT_EQ(source_of(0), *IpAddress::parse("fd00:2::1")) << "a neighbour on port inside";
  EXPECT_EQ(source_of(1), *IpAddress::parse("10.1.0.1")) << "behind the router of port outside";
  const View l2(compiled(objects_from(replaced(
      replaced(replaced(yaml, "DSR_GUE", "DSR_L2"), "\"fd00:2::11\"", "10.2.0.11"), "10.7.0.12", "10.2.0.12"))));
  EXPECT_EQ(l2.cluster().forwarding, Forwarding::dsr_l2);
}

// web and shop share 10.9.0.1:80 by server name.
std::string named_yaml(const std::string& shop_names) {
  const std::string spliced = replaced(base_yaml(), "forwarding: FULL_NAT", "forwarding: SPLICE");
  return replaced(spliced, "proxy: TCP_PROXY",
                  "proxy: TCP_PROXY_WITH_SNI\n  domains: [www.example.com, '*.example.com']") +
         "---\nkind: virtual_host\nmetadata: {name: shop}\nspec: {proxy: TCP_PROXY_WITH_SNI, " +
         shop_names + ", advertise_policies: [{name: web}], routes: [{name: web}]}\n";
}

TEST(Compile, VirtualHostsShareAVipByServerName) {
  const View view(compiled(objects_from(
      named_yaml("domains: ['*.shop.example.com'], default_loadbalancer: {}, "
                 "sluice: {hello_timeout: 20s, domain_regexes: ['x.*', 'y[0-9]+\\.example\\.org']}"))));
  const Snapshot& s = view.snapshot;
  ASSERT_EQ(s.vips().size(), 3u);
  const VipRow& listener = *s.find_vip(s.vips()[0].address, s.vips()[0].port, 6);
  EXPECT_EQ(listener.is_peeking, 1);
  EXPECT_EQ(listener.hello_timeout_ms, 20'000u);
  const auto host_for = [&](const std::string& name) {
    ClientHello hello;
    std::copy(name.begin(), name.end(), hello.name_buffer.begin());
    hello.name_bytes = static_cast<std::uint8_t>(name.size());
    return s.name(s.find_by_hello(listener, hello, 0)->virtual_host);
  };
  EXPECT_EQ(host_for("www.example.com"), "web");
  EXPECT_EQ(host_for("x.example.com"), "web");
  EXPECT_EQ(host_for("x.shop.example.com"), "shop");
  EXPECT_EQ(host_for("shop.example.com"), "web");
  EXPECT_EQ(host_for("y12.example.org"), "shop") << "by expression";
  EXPECT_EQ(host_for("example.com"), "shop") << "the default";
  EXPECT_EQ(host_for(""), "shop");
}

TEST(Compile, WideVipsKeepTheirIdWhenTheirPortsChange) {
  const auto with_ports = [](const std::string& ports) {
    return objects_from(replaced(base_yaml(), "protocol: TCP, port: 80}", "protocol: TCP, " + ports + "}"));
  };
  IdMap ids;
  const auto row_of = [&](const std::string& ports) {
    const ObjectStore objects = with_ports(ports);
    EXPECT_TRUE(ids.cover(objects));
    auto built = compile({objects, real_profiles(), {}, {}, ids, 1, 0});
    EXPECT_TRUE(built) << built.error().message;
    const View view(std::move(*built));
    return std::pair(view.snapshot.vips()[0].id, view.snapshot.vip_text(view.snapshot.vips()[0]));
  };
  const auto first = row_of("port_ranges: \"8080-8191,80\"");
  EXPECT_EQ(first.second, "10.9.0.1:80,8080-8191/tcp");
  EXPECT_EQ(row_of("port_ranges: \"81-90\""), std::pair(first.first, std::string("10.9.0.1:81-90/tcp")));
  EXPECT_EQ(row_of("sluice: {all_ports: {}}"), std::pair(first.first, std::string("10.9.0.1:*/tcp")));
  EXPECT_NE(row_of("port: 80").first, first.first) << "an exact VIP is known by its port";
}

TEST(Compile, ConsequencesNamePortsAndNetworks) {
  const View before(compiled(objects_from(base_yaml())));
  const View after(compiled(objects_from(replaced(base_yaml(), "address: 10.9.0.1, protocol: TCP, port: 80}",
                                                  "address: 10.9.0.0, port_ranges: \"80,90-99\", sluice: {prefix_length: 28}}"))));
  const auto sentences = compare(&before.snapshot, after.snapshot).sentences;
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_EQ(sentences[0], "VIP 10.9.0.0/28:80,90-99/tcp is added");
  EXPECT_EQ(sentences[1], "VIP 10.9.0.1:80/tcp is removed");
  const View fewer(compiled(objects_from(replaced(base_yaml(), "address: 10.9.0.1, protocol: TCP, port: 80}",
                                                  "address: 10.9.0.0, port_ranges: \"80,90-95\", sluice: {prefix_length: 28}}"))));
  EXPECT_EQ(compare(&after.snapshot, fewer.snapshot).sentences,
            (std::vector<std::string>{"VIP 10.9.0.0/28:80,90-99/tcp becomes 10.9.0.0/28:80,90-95/tcp: flows stay at the "
                                      "ports and addresses that it keeps"}));
}

TEST(Compile, QuicServersOnePacketPersistenceAndLbPort) {
  const std::string yaml = replaced(
      replaced(replaced(replaced(replaced(base_yaml(), "proxy: TCP_PROXY", "proxy: UDP_PROXY\n  sluice: {quic: {config_rotation: 5, server_id_length: 2}}"),
                                 "10.9.0.1, protocol: TCP", "10.9.0.1, protocol: UDP"),
                        "ip: 10.2.0.11, port: 8080, protocol: TCP", "ip: 10.2.0.11, port: 8080, protocol: UDP, sluice: {quic_server_id: \"0aFf\"}"),
               "ip: 10.2.0.12, port: 8080, protocol: TCP", "ip: 10.2.0.12, port: 8080, protocol: UDP, sluice: {quic_server_id: \"0000\"}"),
      "snat_pool: inside", "snat_pool: inside, lb_port: {}, source_persistence: {ipv6_prefix_length: 56}");
  const View view(compiled(objects_from(yaml)));
  const VipRow& vip = view.snapshot.vips()[0];
  EXPECT_EQ(QuicRouting::unpacked(vip.quic).rotation, 5);
  EXPECT_EQ(QuicRouting::unpacked(vip.quic).server_id_bytes, 2);
  const std::byte id[] = {std::byte{0x0a}, std::byte{0xff}};
  const EndpointRow* endpoint = view.snapshot.find_quic_server(vip.cluster, id);
  ASSERT_NE(endpoint, nullptr);
  EXPECT_EQ(endpoint->address, *IpAddress::parse("10.2.0.11"));
  EXPECT_EQ(view.snapshot.find_quic_server(vip.cluster, std::span(id).first(1)), nullptr);
  EXPECT_EQ(view.snapshot.port_of(*endpoint, be16(443)), be16(443));
  EXPECT_EQ(view.cluster().source_length_v4, 128);
  EXPECT_EQ(view.cluster().source_length_v6, 56);
}

// Of expressions that match, that of the virtual host whose name comes first, whatever the order in the file.
TEST(Compile, RegularExpressionsAreAskedByTheNamesOfTheirVirtualHosts) {
  const std::string spliced = replaced(base_yaml(), "forwarding: FULL_NAT", "forwarding: SPLICE");
  std::string yaml = replaced(spliced, "proxy: TCP_PROXY",
                              "proxy: TCP_PROXY_WITH_SNI\n  sluice: {domain_regexes: ['[a-c].*', '.*z']}");
  for (const char* host : {"zoo", "bar"}) {
    yaml += fmt::format("---\nkind: virtual_host\nmetadata: {{name: {}}}\nspec: {{proxy: TCP_PROXY_WITH_SNI, sluice: "
                        "{{domain_regexes: ['.*'], alpn: [{}]}}, advertise_policies: [{{name: web}}], routes: [{{name: web}}]}}\n",
                        host, host[0]);
  }
  const View view(compiled(objects_from(yaml)));
  const Snapshot& s = view.snapshot;
  const auto host_for = [&](const std::string& name, const std::string& protocols) {
    ClientHello hello;
    std::copy(name.begin(), name.end(), hello.name_buffer.begin());
    hello.name_bytes = static_cast<std::uint8_t>(name.size());
    std::copy(protocols.begin(), protocols.end(), hello.alpn_buffer.begin());
    hello.alpn_bytes = static_cast<std::uint8_t>(protocols.size());
    const VipRow* vip = s.find_by_hello(*s.find_vip(s.vips()[0].address, s.vips()[0].port, 6), hello, 1);
    return vip == nullptr ? "nobody" : s.name(vip->virtual_host);
  };
  EXPECT_EQ(host_for("abc", "\1z"), "web");
  EXPECT_EQ(host_for("abc", "\1z\1b"), "bar");
  EXPECT_EQ(host_for("xyz", "\1z"), "web");
  EXPECT_EQ(host_for("xyzz.example", "\1z"), "zoo");
  EXPECT_EQ(host_for("xyzz.example", "\1x"), "nobody");
}

TEST(Compile, ANameOrDefaultThatTwoClaimIsRefused) {
  const auto message = [](const std::string& yaml) {
    const Findings findings = findings_of(yaml);
    return findings.errors.empty() ? std::string() : findings.errors[0].message;
  };
  EXPECT_EQ(message(named_yaml("domains: [other.example.com]")), "");
  EXPECT_EQ(message(named_yaml("domains: [www.example.com]")),
            "www.example.com on 10.9.0.1:80/tcp is claimed twice: by virtual_host shop and by "
            "virtual_host web");
  EXPECT_EQ(message(replaced(named_yaml("domains: [other.example.com]"), "protocol: TCP, port: 80}",
                             "port_ranges: \"443,8443\"}")),
            "10.9.0.1:443,8443/tcp is more than one address and port, and virtual_host shop is chosen by server name");
  EXPECT_EQ(message(named_yaml("domains: [www.example.com], sluice: {alpn: [h2]}")), "");
  EXPECT_EQ(message(named_yaml("sluice: {domain_regexes: ['a.*', 'b', 'a.*']}")),
            "a.* on 10.9.0.1:80/tcp is claimed twice: by virtual_host shop and by virtual_host shop");
}

TEST(Compile, UdpHasAShorterIdleTimeout) {
  std::string yaml = base_yaml();
  for (const char* at : {"proxy: TCP_PROXY", "protocol: TCP, port: 80}",
                         "port: 8080, protocol: TCP}", "port: 8080, protocol: TCP}"}) {
    yaml = replaced(yaml, at, replaced(at, "TCP", "UDP"));
  }
  const View view(compiled(objects_from(yaml)));
  EXPECT_EQ(view.snapshot.vips()[0].idle_timeout_ms, 60'000u);
  EXPECT_EQ(view.snapshot.vips()[0].protocol, 17);
}

TEST(Compile, WritesTheMssAndTheRatesOfIcmp) {
  const View usual(compiled(objects_from(base_yaml())));
  EXPECT_EQ(usual.snapshot.vips()[0].mss_max, 0);
  EXPECT_EQ(usual.snapshot.node().icmp_errors_per_second, 1'000u);
  EXPECT_EQ(usual.snapshot.node().icmp_echoes_per_second, 10'000u);
  EXPECT_EQ(usual.snapshot.node().fragment_datagrams_max, 4'096u);
  EXPECT_EQ(usual.snapshot.node().fragment_held_bytes_max, 1u << 20);
  EXPECT_EQ(usual.snapshot.node().fragment_timeout_ms, 5'000u);
  std::string yaml =
      replaced(base_yaml(), "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {mss_max: 1300}");
  yaml = replaced(
      yaml, "snat_pools:", "icmp: {errors_per_second: 0, echoes_per_second: 5}\n  snat_pools:");
  const View view(compiled(objects_from(yaml)));
  EXPECT_EQ(view.snapshot.vips()[0].mss_max, 1'300);
  EXPECT_EQ(view.snapshot.node().icmp_errors_per_second, 0u);
  EXPECT_EQ(view.snapshot.node().icmp_echoes_per_second, 5u);
}

TEST(Compile, AVipIsPendingUntilSomethingIsKnown) {
  const ObjectStore objects = objects_from(checked_yaml);
  HealthRecords health;
  EXPECT_EQ(View(compiled(objects, health)).snapshot.vips()[0].state, VipState::pending);
  health[target("web-1")].verdict = HealthVerdict::down;
  EXPECT_EQ(View(compiled(objects, health)).snapshot.vips()[0].state, VipState::pending);
  health[target("web-1")].verdict = HealthVerdict::up;
  const View one_up(compiled(objects, health));
  EXPECT_EQ(one_up.snapshot.vips()[0].state, VipState::ready);
  EXPECT_EQ(one_up.state(0), EndpointState::up);
  EXPECT_EQ(one_up.state(1), EndpointState::unknown);
  health[target("web-1")].verdict = health[target("web-2")].verdict = HealthVerdict::down;
  const View all_down(compiled(objects, health));
  EXPECT_EQ(all_down.snapshot.vips()[0].state, VipState::ready);
  EXPECT_EQ(all_down.cluster().slot_count, 0u);
}

TEST(Compile, OnlyEndpointsThatTakeFlowsAreInTheSlots) {
  const ObjectStore objects = objects_from(checked_yaml);
  HealthRecords health;
  health[target("web-1")].verdict = HealthVerdict::up;
  health[target("web-2")].verdict = HealthVerdict::up;
  const ObjectKey drained{"endpoint", "default", "web-1"};
  const View view(compiled(objects, health, {{drained, 1000}}));
  EXPECT_EQ(view.state(0), EndpointState::draining);
  for (const std::uint16_t slot : view.snapshot.slots_of(view.cluster())) ASSERT_EQ(slot, 1);
  EXPECT_EQ(view.snapshot.endpoints_of(view.cluster()).size(), 2u)
      << "its flows still need its row";
}

TEST(Compile, ADrainEndsAtItsDeadline) {
  const ObjectStore objects = objects_from(
      replaced(base_yaml(), "snat_pool: inside}", "snat_pool: inside, drain_timeout: 5s}"));
  const Drains drains = {{{"endpoint", "default", "web-1"}, 1'000}};
  EXPECT_EQ(View(compiled(objects, {}, drains, 5'999)).state(0), EndpointState::draining);
  EXPECT_EQ(View(compiled(objects, {}, drains, 6'000)).state(0), EndpointState::ended);
  EXPECT_EQ(next_change(objects, drains, {}, 2'000), 6'000u);
  EXPECT_EQ(next_change(objects, drains, {}, 6'000), std::nullopt);
}

TEST(Compile, EachAlgorithmHasItsChoiceAndSlots) {
  const auto with = [](const std::string& algorithm) {
    return View(compiled(
        objects_from(replaced(base_yaml(), "algorithm: MAGLEV", "algorithm: " + algorithm))));
  };
  EXPECT_EQ(with("RING_HASH").cluster().choice, Choice::hash);
  EXPECT_EQ(with("RING_HASH").cluster().slot_count, 65'536u);
  EXPECT_EQ(with("ROUND_ROBIN").cluster().choice, Choice::rotate);
  EXPECT_EQ(with("ROUND_ROBIN").cluster().slot_count, 2u);
  EXPECT_EQ(with("RANDOM").cluster().choice, Choice::random);
  EXPECT_EQ(with("LEAST_REQUEST").cluster().choice, Choice::least);
  const View by_default(compiled(objects_from(replaced(base_yaml(), "algorithm: MAGLEV, ", ""))));
  EXPECT_EQ(by_default.cluster().choice, Choice::rotate);
}

TEST(Compile, TheOrderOfEditsLeavesNoTrace) {
  std::string yaml = node_yaml();
  for (int i = 0; i < 20; ++i) {
    yaml += "---\nkind: endpoint\nmetadata: {name: e" + std::to_string(i) +
            "}\nspec: {ip: 10.2.1." + std::to_string(i) + ", port: 80}\n";
  }
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) names.push_back("{name: e" + std::to_string(i) + "}");
  const auto build = [&](unsigned seed) {
    std::mt19937 dice(seed);
    std::shuffle(names.begin(), names.end(), dice);
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    std::string rest = replaced(web_yaml(), "{name: web-1}, {name: web-2}", list);
    // Documents in another order, too.
    std::vector<std::string> documents;
    std::string all = yaml + "---\n" + rest;
    for (std::size_t at = 0; at != std::string::npos;) {
      const std::size_t end = all.find("---\n", at);
      documents.push_back(all.substr(at, end == std::string::npos ? end : end - at));
      at = end == std::string::npos ? end : end + 4;
    }
    std::shuffle(documents.begin(), documents.end(), dice);
    std::string shuffled;
    for (const std::string& document : documents) shuffled += "---\n" + document;
    return compiled(objects_from(shuffled));
  };
  const SnapshotBuffer first = build(1);
  for (unsigned seed = 2; seed < 6; ++seed) {
    const SnapshotBuffer other = build(seed);
    ASSERT_TRUE(std::equal(first.bytes().begin(), first.bytes().end(), other.bytes().begin(),
                           other.bytes().end()))
        << seed;
  }
}

TEST(Compile, ABoxWithAnotherPastHasTheSameSlots) {
  const ObjectStore now = objects_from(base_yaml());
  IdMap with_past;
  ASSERT_TRUE(
      with_past.cover(objects_from(replaced(base_yaml(), "ip: 10.2.0.11", "ip: 10.2.0.77"))));
  ASSERT_TRUE(with_past.cover(now));
  auto built = compile({now, real_profiles(), {}, {}, with_past, 1, 0});
  ASSERT_TRUE(built);
  const View other(std::move(*built));
  const View fresh(compiled(now));
  const auto a = fresh.snapshot.slots_of(fresh.cluster());
  const auto b = other.snapshot.slots_of(other.cluster());
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
}

TEST(Compile, TheCacheChangesNothing) {
  const ObjectStore objects = objects_from(checked_yaml);
  IdMap ids;
  ASSERT_TRUE(ids.cover(objects));
  SlotCache cache;
  HealthRecords health;
  for (const HealthVerdict verdict :
       {HealthVerdict::up, HealthVerdict::down, HealthVerdict::up, HealthVerdict::up}) {
    health[target("web-1")].verdict = HealthVerdict::up;
    health[target("web-2")].verdict = verdict;
    const auto plain = compile({objects, real_profiles(), health, {}, ids, 1, 0});
    const auto cached = compile({objects, real_profiles(), health, {}, ids, 1, 0}, &cache);
    ASSERT_TRUE(plain && cached);
    EXPECT_TRUE(is_same_content(plain->bytes(), cached->bytes()));
  }
}

TEST(Compile, ChoiceSeedChangesTheSecretAndNothingElse) {
  const View one(compiled(objects_from(base_yaml())));
  const View other(compiled(objects_from(
      replaced(base_yaml(), "  workers: [0, 1]", "  workers: [0, 1]\n  choice_seed: other"))));
  EXPECT_NE(one.snapshot.node().choice_secret.a, other.snapshot.node().choice_secret.a);
  EXPECT_NE(one.snapshot.node().choice_secret.b, other.snapshot.node().choice_secret.b);
}

TEST(Ids, StayWithTheirAddressWhateverHappens) {
  IdMap ids;
  const ObjectStore both = objects_from(base_yaml());
  ASSERT_TRUE(ids.cover(both));
  const auto id_1 = ids.endpoints.find("default/web 10.2.0.11:8080/tcp");
  const auto id_2 = ids.endpoints.find("default/web 10.2.0.12:8080/tcp");
  ASSERT_TRUE(id_1 && id_2);
  ASSERT_TRUE(ids.cover(
      objects_from(replaced(base_yaml(), "{name: web-1}, {name: web-2}", "{name: web-2}"))));
  EXPECT_EQ(ids.endpoints.find("default/web 10.2.0.12:8080/tcp"), id_2);
  ASSERT_TRUE(ids.cover(objects_from(replaced(base_yaml(), "ip: 10.2.0.11", "ip: 10.2.0.13"))));
  EXPECT_NE(ids.endpoints.find("default/web 10.2.0.13:8080/tcp"), id_1)
      << "not reused while there are others";
  ASSERT_TRUE(ids.cover(both));
  EXPECT_EQ(ids.endpoints.find("default/web 10.2.0.11:8080/tcp"), id_1)
      << "it comes back to its own";
}

TEST(Ids, TheLongestGoneIsReusedFirst) {
  IdSpace space(3);
  ASSERT_TRUE(space.live({"a", "b", "c"}));
  const auto a = space.find("a");
  ASSERT_TRUE(space.live({"b", "c"}));
  ASSERT_TRUE(space.live({"c"}));
  ASSERT_TRUE(space.live({"c", "d"}));
  EXPECT_EQ(space.find("d"), a);
  EXPECT_FALSE(space.find("a"));
  EXPECT_TRUE(space.find("b"));
  EXPECT_FALSE(space.live({"1", "2", "3", "4"})) << "more than there are";
}

TEST(Ids, AThousandRandomEditsKeepEveryLivingId) {
  std::mt19937 dice(11);
  IdSpace space(64);
  std::map<std::string, std::uint32_t> known;
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::string> keys;
    for (int i = 0; i < 80; ++i) {
      if (dice() % 3 == 0 && keys.size() < 64) keys.push_back("k" + std::to_string(i + 100));
    }
    std::map<std::string, std::uint32_t> living;
    for (const std::string& key : keys) {
      if (known.contains(key)) living[key] = known[key];
    }
    ASSERT_TRUE(space.live(keys));
    std::map<std::uint32_t, std::string> owners;
    known.clear();
    for (const std::string& key : keys) {
      const auto id = space.find(key);
      ASSERT_TRUE(id);
      ASSERT_LT(*id, 64u);
      ASSERT_TRUE(owners.emplace(*id, key).second) << "two owners of one id";
      if (living.contains(key)) {
        ASSERT_EQ(living[key], *id);
      }
      known[key] = *id;
    }
  }
}

const std::string policies_yaml =
    "---\nkind: service_policy\nmetadata: {name: bad}\nspec: {deny_list: {prefix_list: {prefixes: "
    "[\"10.66.0.0/16\"]}}}\n"
    "---\nkind: service_policy\nmetadata: {name: ours}\nspec: {allow_list: {prefix_list: "
    "{prefixes: "
    "[\"10.0.0.0/8\", \"fd00::/16\"]}}}\n";

TEST(Compile, PoliciesAndLimitsOfAVirtualHost) {
  const View view(compiled(objects_from(
      replaced(
          base_yaml(), "routes: [{name: web}]",
          "routes: [{name: web}]\n  sluice:\n    service_policies: [{name: bad}, {name: ours}]\n"
          "    connection_limit: 500\n    new_connections: {total_number: 100}\n"
          "    packets_per_source: {total_number: 6, unit: MINUTE, burst_multiplier: 2}") +
      policies_yaml)));
  ASSERT_EQ(view.snapshot.vip_limits().size(), 1u);
  const VipLimitsRow& row = view.snapshot.vip_limits()[0];
  EXPECT_EQ(row.flows_max, 500u);
  EXPECT_EQ(row.new_flows.interval_ns, 10'000'000u);
  EXPECT_EQ(row.new_flows.burst_ns, 1'000'000'000u);
  EXPECT_EQ(row.source_packets.interval_ns, 10'000'000'000u);
  EXPECT_EQ(row.source_packets.burst_ns, 120'000'000'000u);
  EXPECT_EQ(row.packets.interval_ns, 0u);
  const PrefixTable table = view.snapshot.prefix_table(view.snapshot.prefix_tables()[row.sources]);
  EXPECT_EQ(table.value_of(*IpAddress::parse("10.66.1.1")), source_action::deny);
  EXPECT_EQ(table.value_of(*IpAddress::parse("10.1.1.1")), source_action::allow);
  EXPECT_EQ(table.value_of(*IpAddress::parse("192.0.2.1")), source_action::deny);
  EXPECT_EQ(table.value_of(*IpAddress::parse("fd00::1")), source_action::allow);
  EXPECT_EQ(table.value_of(*IpAddress::parse("2001:db8::1")), source_action::deny);
}

TEST(Compile, WhoMayStandBeforeAVip) {
  EXPECT_EQ(View(compiled(objects_from(base_yaml()))).snapshot.vips()[0].proxies, 0);
  const std::string accept = "sluice: {accept_proxy_protocol: {trusted_prefixes: [192.0.2.0/24, 'fd00:1::/64']}}}";
  const View view(compiled(objects_from(
      replaced(replaced(named_yaml("domains: [shop.example.org]"), "port: 80}", "port: 80, " + accept), "advertise_policies: [{name: web}]\n",
               "advertise_policies: [{name: web}, {name: more}]\n") +
      "---\nkind: advertise_policy\nmetadata: {name: more}\nspec: {address: 10.9.0.2, port: 80, " + accept)));
  const Snapshot& s = view.snapshot;
  EXPECT_EQ(s.prefix_tables().size(), 1u);  // equal lists share it
  for (const VipRow& vip : s.vips()) {      // the listeners too: the header comes before the server name
    EXPECT_TRUE(s.trusts(vip, *IpAddress::parse("192.0.2.77")));
    EXPECT_TRUE(s.trusts(vip, *IpAddress::parse("fd00:1::9")));
    EXPECT_FALSE(s.trusts(vip, *IpAddress::parse("192.0.3.1")));
    EXPECT_FALSE(s.trusts(vip, *IpAddress::parse("fd00:2::9")));
  }
}

TEST(Compile, ADenyListLeavesTheOthersAndNoLimitsCostNothing) {
  const View denied(compiled(
      objects_from(replaced(base_yaml(), "routes: [{name: web}]",
                            "routes: [{name: web}]\n  sluice: {service_policies: [{name: bad}]}") +
                   policies_yaml)));
  const PrefixTable table = denied.snapshot.prefix_table(denied.snapshot.prefix_tables()[0]);
  EXPECT_EQ(table.value_of(*IpAddress::parse("10.66.1.1")), source_action::deny);
  EXPECT_EQ(table.value_of(*IpAddress::parse("192.0.2.1")), 0);
  EXPECT_TRUE(
      View(compiled(objects_from(base_yaml() + policies_yaml))).snapshot.vip_limits().empty());
}

TEST(Compile, BackupsTakeFlowsOnlyWhileNobodyOfALowerNumberIsUp) {
  const std::string yaml =
      replaced(checked_yaml, "{ip: 10.2.0.12, port: 8080, protocol: TCP}",
               "{ip: 10.2.0.12, port: 8080, protocol: TCP, sluice: {priority: 1}}");
  const ObjectStore objects = objects_from(yaml);
  const auto owners = [&](HealthVerdict first, HealthVerdict second) {
    HealthRecords health;
    health[target("web-1")].verdict = first;
    health[target("web-2")].verdict = second;
    const View view(compiled(objects, health));
    std::set<unsigned> found;
    for (const std::uint16_t slot : view.snapshot.slots_of(view.cluster())) found.insert(slot);
    return found;
  };
  using Set = std::set<unsigned>;
  EXPECT_EQ(owners(HealthVerdict::up, HealthVerdict::up), Set{0});
  EXPECT_EQ(owners(HealthVerdict::down, HealthVerdict::up), Set{1});
  EXPECT_EQ(owners(HealthVerdict::up, HealthVerdict::down), Set{0});
  EXPECT_EQ(owners(HealthVerdict::down, HealthVerdict::down), Set{});
}

TEST(Compile, AnEndpointThatComesUpIsLetInSlowly) {
  const ObjectStore objects = objects_from(
      replaced(replaced(checked_yaml, "algorithm: MAGLEV", "algorithm: ROUND_ROBIN, slow_start: 10s"),
               "{ip: 10.2.0.12, port: 8080, protocol: TCP}",
               "{ip: 10.2.0.12, port: 8080, protocol: TCP, sluice: {weight: 2}}"));
  HealthRecords health;
  health[target("web-1")] = {HealthVerdict::up, "", 1'000};
  health[target("web-2")] = {HealthVerdict::up, "", 100'000};
  const auto share_of_the_second = [&](std::uint64_t now) {
    const View view(compiled(objects, health, {}, now));
    const auto slots = view.snapshot.slots_of(view.cluster());
    return static_cast<double>(std::count(slots.begin(), slots.end(), 1)) / static_cast<double>(slots.size());
  };
  EXPECT_NEAR(share_of_the_second(100'500), 2.0 / 12, 1e-9);
  EXPECT_NEAR(share_of_the_second(104'500), 10.0 / 20, 1e-9);
  EXPECT_NEAR(share_of_the_second(109'000), 2.0 / 3, 1e-9);
  EXPECT_EQ(next_change(objects, {}, health, 100'500), 101'000u);
  EXPECT_EQ(next_change(objects, {}, health, 108'500), 109'000u);
  EXPECT_EQ(next_change(objects, {}, health, 109'000), std::nullopt);
}

TEST(Compile, FlowsOfADeadEndpointEndWhenTheClusterSaysSo) {
  HealthRecords health;
  health[target("web-1")].verdict = HealthVerdict::down;
  health[target("web-2")].verdict = HealthVerdict::up;
  const auto state = [&](const std::string& options) {
    return View(compiled(objects_from(replaced(checked_yaml, "algorithm: MAGLEV", options + "algorithm: MAGLEV")), health))
        .state(0);
  };
  EXPECT_EQ(state(""), EndpointState::down);
  EXPECT_EQ(state("on_endpoint_down: KEEP, "), EndpointState::down);
  EXPECT_EQ(state("on_endpoint_down: RESET, "), EndpointState::ended);
  EXPECT_EQ(state("on_endpoint_down: REPICK, "), EndpointState::down) << "of UDP only";
}

TEST(Compile, ABlocklistIsATableAndAList) {
  const View view(compiled(objects_from(
      replaced(base_yaml(), "  workers: [0, 1]\n", "  workers: [0, 1]\n  blocklist: [\"10.66.0.0/16\", \"2001:db8::/32\"]\n"))));
  ASSERT_EQ(view.snapshot.blocked().size(), 2u);
  EXPECT_TRUE(view.snapshot.is_blocked(*IpAddress::parse("10.66.3.4")));
  EXPECT_TRUE(view.snapshot.is_blocked(*IpAddress::parse("2001:db8::7")));
  EXPECT_FALSE(view.snapshot.is_blocked(*IpAddress::parse("10.67.3.4")));
}

TEST(Consequences, SubInterfacesNeedNoRestart) {
  const auto with = [](const std::string& more) {
    return View(compiled(objects_from(replaced(base_yaml(), "  routes:", more + "  routes:"))));
  };
  const View none = with(""), ten = with("    - {name: green, parent: outside, vlan: 10}\n"),
             eleven = with("    - {name: green, parent: outside, vlan: 11, mtu: 1400}\n");
  const auto sentences = [](const View& a, const View& b) { return compare(&a.snapshot, b.snapshot).sentences; };
  EXPECT_EQ(sentences(none, ten), std::vector<std::string>{"sub-interface green is added: VLAN 10 on port outside"});
  EXPECT_EQ(sentences(ten, eleven), std::vector<std::string>{"sub-interface green becomes VLAN 11 on port outside, MTU 1400"});
  EXPECT_EQ(sentences(ten, none), std::vector<std::string>{"sub-interface green is removed: VLAN 10 on port outside"});
  EXPECT_TRUE(sentences(ten, ten).empty());
  const View wide(compiled(objects_from(replaced(base_yaml(), "name: inside, profile", "name: inside, mtu: 1400, profile"))));
  EXPECT_EQ(sentences(none, wide), std::vector<std::string>{"ports change: this takes effect when the dataplane is restarted"});
}

TEST(Consequences, AreReadOffTheTables) {
  IdMap ids;
  const ObjectStore before_objects = objects_from(base_yaml());
  const ObjectStore after_objects =
      objects_from(replaced(replaced(base_yaml(), "{name: web-1}, {name: web-2}", "{name: web-2}"),
                            "port: 80}", "port: 81}"));
  ASSERT_TRUE(ids.cover(before_objects));
  auto before_bytes = compile({before_objects, real_profiles(), {}, {}, ids, 1, 0});
  ASSERT_TRUE(before_bytes);
  ASSERT_TRUE(ids.cover(after_objects));
  auto after_bytes = compile({after_objects, real_profiles(), {}, {}, ids, 2, 0});
  ASSERT_TRUE(after_bytes);
  const auto before = Snapshot::verify(before_bytes->bytes());
  const auto after = Snapshot::verify(after_bytes->bytes());
  ASSERT_TRUE(before && after);
  const Consequences found = compare(&*before, *after);
  ASSERT_EQ(found.sentences.size(), 3u);
  EXPECT_EQ(found.sentences[0], "VIP 10.9.0.1:81/tcp is added");
  EXPECT_EQ(found.sentences[1], "VIP 10.9.0.1:80/tcp is removed");
  EXPECT_EQ(found.sentences[2].substr(0, 14), "cluster web: 5") << found.sentences[2];
  ASSERT_EQ(found.removed_endpoints.size(), 1u);
  EXPECT_EQ(found.removed_endpoints[0].name, "web-1");
}

}  // namespace
}  // namespace sluice::compile_test
