// Rules between objects: one case a rule, with the sentence the operator reads.
#include "mgmt/schema/validate.h"

#include <gtest/gtest.h>

#include "tests/unit/mgmt/world.h"

namespace sluice::validate_test {
namespace {

std::string text_of(const Findings& findings) {
  std::string text;
  for (const Problem& problem : findings.errors) {
    text += problem.object.text() + ": " + problem.path + ": " + problem.message + "; expected " +
            problem.expected;
    if (!problem.suggestion.empty()) text += "; did you mean '" + problem.suggestion + "'?";
    text += "\n";
  }
  return text;
}

// A change to the valid configuration: `from` becomes `to`, and `more` is added.
struct Case {
  const char* name;
  std::string from;
  std::string to;
  std::string more;
  std::string errors;
};

class Validate : public testing::TestWithParam<Case> {};

TEST_P(Validate, RefusesAndSaysWhy) {
  const Case& c = GetParam();
  std::string yaml = base_yaml();
  if (!c.from.empty()) yaml = replaced(yaml, c.from, c.to);
  if (!c.more.empty()) yaml += "---\n" + c.more;
  EXPECT_EQ(text_of(findings_of(yaml)), c.errors);
}

const std::string shop =
    "kind: virtual_host\nmetadata: {name: shop}\nspec: {proxy: TCP_PROXY, advertise_policies: "
    "[{name: shop}], routes: [{name: web}]}\n";
const std::string v6_endpoint =
    "kind: endpoint\nmetadata: {name: web-3}\nspec: {ip: \"fd00:2::11\", port: 80}\n";

// A UDP service beside web: options of the virtual host and the cluster, the port, the endpoints' server IDs.
std::string dns(const std::string& host, const std::string& cluster, const std::string& port = "port: 53",
                const std::string& first_id = "a1", const std::string& second_id = "a2") {
  const auto id = [](const std::string& digits) {
    return digits.empty() ? std::string() : ", sluice: {quic_server_id: \"" + digits + "\"}";
  };
  return "kind: virtual_host\nmetadata: {name: dns}\nspec: {proxy: UDP_PROXY, advertise_policies: [{name: dns}], "
         "routes: [{name: dns}], sluice: {" + host + "}}\n---\nkind: advertise_policy\nmetadata: {name: dns}\nspec: "
         "{address: 10.9.0.9, protocol: UDP, " + port + "}\n---\nkind: route\nmetadata: {name: dns}\nspec: {routes: "
         "[{route_destination: {destinations: [{cluster: [{name: dns}]}]}}]}\n---\nkind: cluster\nmetadata: {name: "
         "dns}\nspec: {endpoints: [{name: dns-1}, {name: dns-2}], sluice: {" + cluster + "}}\n---\nkind: endpoint\n"
         "metadata: {name: dns-1}\nspec: {ip: 10.2.0.21, port: 53, protocol: UDP" + id(first_id) + "}\n---\nkind: "
         "endpoint\nmetadata: {name: dns-2}\nspec: {ip: 10.2.0.22, port: 53, protocol: UDP" + id(second_id) + "}\n";
}

// Another policy that web is advertised by.
std::string more_policy(const std::string& spec) {
  return "kind: advertise_policy\nmetadata: {name: more}\nspec: {" + spec + "}\n";
}

const std::string domain_expected =
    "expected a host name in lower case, or *. and at least two labels, such as www.example.com and "
    "*.example.com";

// Two virtual hosts on 10.9.0.1:443, told apart by server name, each by a policy of its own.
Findings findings_of_two_policies(const std::string& first, const std::string& second) {
  const auto host = [](const std::string& name, const std::string& extension) {
    return "---\nkind: virtual_host\nmetadata: {name: " + name + "}\nspec: {proxy: TCP_PROXY_WITH_SNI, domains: [" + name +
           ".example.com], advertise_policies: [{name: " + name + "}], routes: [{name: web}]}\n---\nkind: advertise_policy\n" +
           "metadata: {name: " + name + "}\nspec: {address: 10.9.0.1, port: 443, sluice: {" + extension + "}}\n";
  };
  return findings_of(replaced(base_yaml(), "forwarding: FULL_NAT", "forwarding: SPLICE") + host("blue", first) + host("green", second));
}

TEST(AcceptProxyProtocol, VirtualHostsOfOneVipReadTheHeaderFromTheSameProxies) {
  const std::string accept = "accept_proxy_protocol: {trusted_prefixes: [192.0.2.0/24, 'fd00:1::/64']}";
  const std::string sentence =
      "advertise_policy green: spec.sluice.accept_proxy_protocol: 10.9.0.1:443/tcp is shared by virtual_host blue (advertise_policy "
      "blue) and virtual_host green (advertise_policy green), which do not accept the PROXY protocol from the same proxies; expected "
      "the same trusted_prefixes in both, or one advertise_policy for both\n";
  EXPECT_EQ(text_of(findings_of_two_policies(accept, accept)), "");
  EXPECT_EQ(text_of(findings_of_two_policies(accept, "accept_proxy_protocol: {trusted_prefixes: ['fd00:1:0::/64', 192.0.2.0/24]}")), "");
  EXPECT_EQ(text_of(findings_of_two_policies(accept, "")), sentence);
  EXPECT_EQ(text_of(findings_of_two_policies("", accept)), sentence);
  EXPECT_EQ(text_of(findings_of_two_policies(accept, "accept_proxy_protocol: {trusted_prefixes: [192.0.2.0/24]}")), sentence);
}

TEST(AcceptProxyProtocol, ToTrustEverybodyIsSaidTo) {
  const std::string all = "accept_proxy_protocol: {trusted_prefixes: [0.0.0.0/0]}";
  const Findings findings = findings_of_two_policies(all, all);
  EXPECT_EQ(text_of(findings), "");
  ASSERT_EQ(findings.warnings.size(), 2u);
  EXPECT_EQ(findings.warnings[0],
            "advertise_policy blue: accept_proxy_protocol trusts 0.0.0.0/0: whoever reaches the VIP can say that he is anybody");
}

INSTANTIATE_TEST_SUITE_P(
    All, Validate,
    testing::Values(
        Case{"valid", "", "", "", ""},
        Case{"required_fields", "spec: {ip: 10.2.0.11, port: 8080, protocol: TCP}", "spec: {}", "",
             "endpoint web-1: spec.ip: ip is required; expected Its address.\nendpoint web-1: "
             "spec.port: port is required; expected Its port.\n"},
        Case{"no_spec", "spec: {ip: 10.2.0.11, port: 8080, protocol: TCP}\n", "", "",
             "endpoint web-1: spec: spec is required; expected the fields of the object\n"},
        Case{"no_name", "metadata: {name: web-2}", "metadata: {}", "",
             "endpoint : metadata.name: name is required; expected Name of the object, unique for "
             "its kind and namespace.\n"},
        Case{"bad_name", "metadata: {name: lb}", "metadata: {name: Lb_1}", "",
             "node Lb_1: metadata.name: 'Lb_1' is not accepted; expected a DNS-1035 name: a-z, 0-9 "
             "and '-', beginning with a letter, at most 63 characters\n"},
        Case{"port_zero", "ip: 10.2.0.11, port: 8080", "ip: 10.2.0.11, port: 0", "",
             "endpoint web-1: spec.port: 0 is too small; expected 1 to 65535\n"},
        Case{"port_above", "ip: 10.2.0.11, port: 8080", "ip: 10.2.0.11, port: 70000", "",
             "endpoint web-1: spec.port: 70000 is too large; expected 1 to 65535\n"},
        Case{"timeout_range", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  idle_timeout: 10ms", "",
             "virtual_host web: spec.idle_timeout: 10ms is too small; expected 1s to 7d\n"},
        Case{"mss_range", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {mss_max: 100}", "",
             "virtual_host web: spec.sluice.mss_max: 100 is too small; expected 216 to 9158\n"},
        Case{"mss_of_udp", "", "",
             "kind: virtual_host\nmetadata: {name: u}\nspec: {proxy: UDP_PROXY, sluice: {mss_max: "
             "1300}, advertise_policies: [{name: u}], routes: [{name: u}]}\n---\nkind: "
             "advertise_policy\nmetadata: {name: u}\nspec: {address: 10.9.0.1, protocol: UDP, "
             "port: 53}\n---\nkind: route\nmetadata: {name: u}\nspec: {routes: "
             "[{route_destination: {destinations: [{cluster: [{name: u}]}]}}]}\n---\nkind: "
             "cluster\nmetadata: {name: u}\nspec: {endpoints: [{name: u}], sluice: {snat_pool: "
             "inside}}\n---\nkind: endpoint\nmetadata: {name: u}\nspec: {ip: 10.2.0.19, port: "
             "53, protocol: UDP}\n",
             "virtual_host u: spec.sluice.mss_max: mss_max belongs to TCP, and virtual_host u is "
             "a UDP_PROXY; expected no mss_max\n"},
        Case{"icmp_range", "snat_pools:", "icmp: {errors_per_second: 1000001}\n  snat_pools:", "",
             "node lb: spec.icmp.errors_per_second: 1000001 is too large; expected 0 to "
             "1000000\n"},
        Case{"jitter", "", "",
             "kind: healthcheck\nmetadata: {name: h}\nspec: {tcp_health_check: {}, jitter_percent: "
             "5}\n",
             "healthcheck h: spec.jitter_percent: 5 is too small; expected 0, or 10 to 50\n"},
        Case{"hex", "", "",
             "kind: healthcheck\nmetadata: {name: h}\nspec: {tcp_health_check: {send_payload: "
             "abc}}\n",
             "healthcheck h: spec.tcp_health_check.send_payload: 'abc' is not accepted; expected "
             "an even number of hexadecimal digits\n"},
        Case{"no_list", "", "", "kind: service_policy\nmetadata: {name: p}\nspec: {}\n",
             "service_policy p: spec: no rule_choice is given; expected one of allow_list, "
             "deny_list\n"},
        Case{"policy_with_host_bits", "", "",
             "kind: service_policy\nmetadata: {name: p}\nspec: {deny_list: {prefix_list: "
             "{prefixes: [\"10.0.0.1/8\"]}}}\n",
             "service_policy p: spec.deny_list.prefix_list.prefixes[0]: '10.0.0.1/8' is not "
             "accepted; expected the "
             "network's own address: 10.0.0.0/8\n"},
        Case{"unknown_policy", "routes: [{name: web}]",
             "routes: [{name: web}]\n  sluice: {service_policies: [{name: nosuch}]}", "",
             "virtual_host web: spec.sluice.service_policies[0].name: virtual_host web refers to "
             "service_policy "
             "nosuch, which does not exist; expected a service_policy object of that name\n"},
        Case{"rate_of_nothing", "routes: [{name: web}]",
             "routes: [{name: web}]\n  sluice: {new_connections: {total_number: 0}}", "",
             "virtual_host web: spec.sluice.new_connections.total_number: 0 is too small; expected "
             "1 to 100000000\n"},
        Case{"no_check", "", "", "kind: healthcheck\nmetadata: {name: h}\nspec: {}\n",
             "healthcheck h: spec: no health_check is given; expected one of tcp_health_check\n"},
        Case{"address", "ip: 10.2.0.11", "ip: 10.2.0.311", "",
             "endpoint web-1: spec.ip: '10.2.0.311' is not accepted; expected an address like "
             "192.0.2.1 or 2001:db8::1\n"},
        Case{"proxy_default", "  proxy: TCP_PROXY\n", "", "",
             "virtual_host web: spec.proxy: HTTP_PROXY is not supported by this version; expected "
             "one of TCP_PROXY, TCP_PROXY_WITH_SNI, UDP_PROXY\n"},

        Case{"proxy_later", "proxy: TCP_PROXY", "proxy: SMA_PROXY", "",
             "virtual_host web: spec.proxy: SMA_PROXY is not supported by this version; expected "
             "one of TCP_PROXY, TCP_PROXY_WITH_SNI, UDP_PROXY\n"},
        Case{"names_need_splice", "proxy: TCP_PROXY", "proxy: TCP_PROXY_WITH_SNI\n  domains: [a.example]",
             "",
             "cluster web: spec.sluice.forwarding: virtual_host web is a TCP_PROXY_WITH_SNI: its "
             "clients are answered before an endpoint is chosen; expected SPLICE\n"},
        Case{"names_of_tcp", "proxy: TCP_PROXY", "proxy: TCP_PROXY\n  domains: [a.example]", "",
             "virtual_host web: spec.domains: TCP_PROXY looks at no server names; expected proxy "
             "TCP_PROXY_WITH_SNI\n"},
        Case{"domain_star", "proxy: TCP_PROXY", "proxy: TCP_PROXY_WITH_SNI\n  domains: ['*']", "",
             "virtual_host web: spec.domains[0]: '*' is not accepted; " + domain_expected + "\n"},
        Case{"domain_top_level", "proxy: TCP_PROXY", "proxy: TCP_PROXY_WITH_SNI\n  domains: ['*.com']",
             "",
             "virtual_host web: spec.domains[0]: '*.com' is not accepted; " + domain_expected + "\n"},
        Case{"domain_regex", "proxy: TCP_PROXY",
             "proxy: TCP_PROXY_WITH_SNI\n  sluice: {domain_regexes: ['www[0-9]+', 'a(b', '(.)\\1']}", "",
             "virtual_host web: spec.sluice.domain_regexes[1]: 'a(b' is not accepted; expected a regular expression that is "
             "matched without backtracking (Hyperscan): Missing close parenthesis for group started at index 1\n"
             "virtual_host web: spec.sluice.domain_regexes[2]: '(.)\\1' is not accepted; expected a regular expression that "
             "is matched without backtracking (Hyperscan): Back-references are unsupported\n"},
        Case{"domain_regexes_of_tcp", "proxy: TCP_PROXY", "proxy: TCP_PROXY\n  sluice: {domain_regexes: [a]}", "",
             "virtual_host web: spec.sluice.domain_regexes: TCP_PROXY looks at no server names; expected proxy "
             "TCP_PROXY_WITH_SNI\n"},
        Case{"domain_partial_label", "proxy: TCP_PROXY",
             "proxy: TCP_PROXY_WITH_SNI\n  domains: ['*bar.foo.com']", "",
             "virtual_host web: spec.domains[0]: '*bar.foo.com' is not accepted; " + domain_expected +
                 "\n"},
        Case{"proxy_protocol_without_splice", "  sluice: {algorithm: MAGLEV",
             "  proxy_protocol_v2: {}\n  sluice: {algorithm: MAGLEV", "",
             "cluster web: spec.proxy_protocol_v2: forwarding FULL_NAT cannot put a PROXY header "
             "before a client's bytes; expected spec.sluice.forwarding SPLICE\n"},
        Case{"splice_without_pool", "forwarding: FULL_NAT, snat_pool: inside",
             "forwarding: SPLICE", "",
             "cluster web: spec.sluice.snat_pool: cluster web forwards by SPLICE and names no SNAT "
             "pool; expected one of inside\n"},
        Case{"host_bits", "prefix: \"0.0.0.0/0\"", "prefix: \"10.7.0.1/24\"", "",
             "node lb: spec.routes[0].prefix: '10.7.0.1/24' is not accepted; expected the "
             "network's own address: 10.7.0.0/24\n"},
        Case{"dangling_cluster", "cluster: [{name: web}]", "cluster: [{name: wbe}]", "",
             "route web: spec.routes[0].route_destination.destinations[0].cluster[0].name: route "
             "web refers to cluster wbe, which does not exist; "
             "expected one of the cluster objects: web; did you mean 'web'?\n"},
        Case{"dangling_endpoint", "[{name: web-1}, {name: web-2}]",
             "[{name: web-1}, {name: other}]", "",
             "cluster web: spec.endpoints[1].name: cluster web refers to endpoint other, which "
             "does not exist; expected one of the endpoint objects: web-1, web-2\n"},
        Case{"other_namespace", "routes: [{name: web}]", "routes: [{name: web, namespace: shop}]",
             "",
             "virtual_host web: spec.routes[0].name: virtual_host web refers to route shop/web, "
             "which does not exist; expected a route object of that name\n"},
        Case{"reference_of_wrong_kind", "routes: [{name: web}]",
             "routes: [{kind: cluster, name: web}]", "",
             "virtual_host web: spec.routes[0].kind: a reference of kind 'cluster' does not fit "
             "here; expected route\n"},
        Case{"endpoint_twice", "[{name: web-1}, {name: web-2}]", "[{name: web-1}, {name: web-1}]",
             "",
             "cluster web: spec.endpoints[1].name: endpoint web-1 is listed twice; expected one "
             "reference to it\n"},
        Case{"incomplete", "  advertise_policies: [{name: web}]\n  routes: [{name: web}]\n", "", "",
             "virtual_host web: spec: virtual_host web is not complete: it has no "
             "advertise_policy, route, cluster, endpoint; expected at least one "
             "advertise_policy and a route to a cluster with an endpoint\n"},
        Case{"no_endpoint", "  endpoints: [{name: web-1}, {name: web-2}]\n", "", "",
             "virtual_host web: spec: virtual_host web is not complete: it has no endpoint; "
             "expected at least one advertise_policy and a route to a "
             "cluster with an endpoint\n"},
        Case{"vip_conflict", "", "",
             shop + "---\nkind: advertise_policy\nmetadata: {name: shop}\nspec: {address: "
                    "10.9.0.1, port: 80}\n",
             "virtual_host web: spec.advertise_policies: 10.9.0.1:80/tcp is claimed twice: by "
             "virtual_host shop (advertise_policy shop) and by virtual_host web "
             "(advertise_policy web); expected an address, port and protocol of its own\n"},
        Case{"no_port", "protocol: TCP, port: 80}", "protocol: TCP}", "",
             "advertise_policy web: spec: no port is given; expected one of port, port_ranges and "
             "sluice.all_ports\n"},
        Case{"port_and_all", "port: 80}", "port: 80, sluice: {all_ports: {}}}", "",
             "advertise_policy web: spec.sluice.all_ports: all_ports and port are both given; "
             "expected one of port, port_ranges and sluice.all_ports\n"},
        Case{"port_list", "port: 80}", "port_ranges: \"80,90-85\"}", "",
             "advertise_policy web: spec.port_ranges: '90-85' is a range that ends before it begins; "
             "expected ports and ranges, such as 80,443,8080-8191\n"},
        Case{"proxied_without_splice", "port: 80}",
             "port: 80, sluice: {accept_proxy_protocol: {trusted_prefixes: [192.0.2.0/24]}}}", "",
             "advertise_policy web: spec.sluice.accept_proxy_protocol: virtual_host web leads to cluster web, which forwards by "
             "FULL_NAT: a PROXY header can be taken off only where clients are answered before an endpoint is chosen; expected "
             "forwarding SPLICE of the cluster\n"},
        Case{"proxied_by_nobody", "forwarding: FULL_NAT, snat_pool: inside}",
             "forwarding: SPLICE, snat_pool: inside}",
             more_policy("address: 10.9.0.2, port: 80, sluice: {accept_proxy_protocol: {}}"),
             "advertise_policy more: spec.sluice.accept_proxy_protocol.trusted_prefixes: advertise_policy more trusts no proxy, so "
             "it would refuse every client; expected the networks of the proxies before it, such as trusted_prefixes: "
             "[192.0.2.0/24, 2001:db8:1::/64]\n"},
        Case{"proxied_one_address", "port: 80}",
             "port: 80, sluice: {accept_proxy_protocol: {trusted_prefixes: [192.0.2.1, \"2001:db8::1\"]}}}", "",
             "advertise_policy web: spec.sluice.accept_proxy_protocol.trusted_prefixes[0]: '192.0.2.1' is not accepted; expected "
             "a network; for this one address: 192.0.2.1/32\n"
             "advertise_policy web: spec.sluice.accept_proxy_protocol.trusted_prefixes[1]: '2001:db8::1' is not accepted; expected "
             "a network; for this one address: 2001:db8::1/128\n"},
        Case{"proxied_host_bits", "port: 80}",
             "port: 80, sluice: {accept_proxy_protocol: {trusted_prefixes: [192.0.2.1/24]}}}", "",
             "advertise_policy web: spec.sluice.accept_proxy_protocol.trusted_prefixes[0]: '192.0.2.1/24' is not accepted; expected "
             "the network's own address: 192.0.2.0/24\n"},
        Case{"proxied_datagrams", "", "",
             dns("", "snat_pool: inside", "port: 53, sluice: {accept_proxy_protocol: {trusted_prefixes: [192.0.2.0/24]}}", "", ""),
             "advertise_policy dns: spec.sluice.accept_proxy_protocol: the PROXY protocol belongs to TCP, and 10.9.0.9:53/udp "
             "(virtual_host dns) is UDP; expected no accept_proxy_protocol\n"},
        Case{"ranges_overlap", "advertise_policies: [{name: web}]\n", "advertise_policies: [{name: web}, {name: more}, {name: range}]\n",
             more_policy("address: 10.9.0.1, port_ranges: \"79-81,8080-8191\"") +
                 "---\nkind: advertise_policy\nmetadata: {name: range}\nspec: {address: 10.9.0.1, port_ranges: "
                 "\"443,8100-9000\"}\n",
             "virtual_host web: spec.advertise_policies: 10.9.0.1:8100-8191/tcp is claimed twice: by virtual_host web "
             "(advertise_policy more) and by virtual_host web (advertise_policy range); expected an address, port and "
             "protocol of its own\n"},
        Case{"port_of_a_list_and_exact", "advertise_policies: [{name: web}]\n", "advertise_policies: [{name: web}, {name: more}]\n",
             more_policy("address: 10.9.0.1, port_ranges: \"80,443\""),
             "virtual_host web: spec.advertise_policies: 10.9.0.1:80/tcp is claimed twice: by virtual_host web "
             "(advertise_policy more) and by virtual_host web (advertise_policy web); expected an address, port and "
             "protocol of its own\n"},
        Case{"all_ports_twice", "port: 80}", "sluice: {all_ports: {}}}",
             shop + "---\nkind: advertise_policy\nmetadata: {name: shop}\nspec: {address: 10.9.0.1, sluice: {all_ports: "
                    "{}}}\n",
             "virtual_host web: spec.advertise_policies: 10.9.0.1:*/tcp is claimed twice: by virtual_host shop "
             "(advertise_policy shop) and by virtual_host web (advertise_policy web); expected an address, port and "
             "protocol of its own\n"},
        Case{"a_network_twice", "port: 80}", "port: 80, sluice: {prefix_length: 32}}",
             shop + "---\nkind: advertise_policy\nmetadata: {name: shop}\nspec: {address: 10.9.0.1, port: 80}\n",
             "virtual_host web: spec.advertise_policies: 10.9.0.1:80/tcp is claimed twice: by virtual_host shop "
             "(advertise_policy shop) and by virtual_host web (advertise_policy web); expected an address, port and "
             "protocol of its own\n"},
        Case{"one_in_the_other_is_no_conflict", "advertise_policies: [{name: web}]\n",
             "advertise_policies: [{name: web}, {name: more}]\n",
             more_policy("address: 10.9.0.0, sluice: {all_ports: {}, prefix_length: 28}"), ""},
        Case{"network_length", "port: 80}", "port: 80, sluice: {prefix_length: 64}}", "",
             "advertise_policy web: spec.sluice.prefix_length: 64 is no length for a network of IPv4 VIPs; expected 8 to "
             "32\n"},
        Case{"network_host_bits", "port: 80}", "port: 80, sluice: {prefix_length: 28}}", "",
             "advertise_policy web: spec.address: 10.9.0.1 lies inside of 10.9.0.0/28; expected the network's own "
             "address: 10.9.0.0\n"},
        Case{"network_holds_the_box", "address: 10.9.0.1, protocol: TCP, port: 80}",
             "address: 10.1.0.0, port: 80, sluice: {prefix_length: 30}}", "",
             "advertise_policy web: spec.address: 10.1.0.1 is claimed twice: by advertise_policy web as a VIP and by port "
             "outside of node lb; expected an address of its own for the VIP\n"},
        Case{"network_holds_the_next_hop", "address: 10.9.0.1, protocol: TCP, port: 80}",
             "address: 10.1.0.248, port: 80, sluice: {prefix_length: 29}}", "",
             "advertise_policy web: spec.address: 10.1.0.254 is claimed twice: by advertise_policy web as a VIP and by the "
             "next hop of 0.0.0.0/0; expected an address of its own for the VIP\n"},
        Case{"network_holds_an_endpoint", "address: 10.9.0.1, protocol: TCP, port: 80}",
             "address: 10.2.0.8, port: 80, sluice: {prefix_length: 30}}", "",
             "endpoint web-1: spec.ip: 10.2.0.11 is the address of endpoint web-1 and also of virtual_host web "
             "(advertise_policy web): packets would go round in a circle; expected an endpoint with an address of its "
             "own\n"},
        Case{"persistence_needs_a_hash", "{algorithm: MAGLEV, ", "{algorithm: RANDOM, source_persistence: {}, ", "",
             "cluster web: spec.sluice.source_persistence: cluster web does not choose by a hash, so it cannot choose by "
             "the client's address; expected algorithm MAGLEV or RING_HASH\n"},
        Case{"persistence", "{algorithm: MAGLEV, ", "{algorithm: MAGLEV, source_persistence: {ipv4_prefix_length: 24}, ", "", ""},
        Case{"quic", "", "", dns("quic: {server_id_length: 1}", "snat_pool: inside"), ""},
        Case{"quic_of_tcp", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {quic: {server_id_length: 1}}", "",
             "virtual_host web: spec.sluice.quic: QUIC is UDP, and virtual_host web is a TCP_PROXY; expected proxy "
             "UDP_PROXY\n"},
        Case{"quic_without_length", "", "", dns("quic: {}", "snat_pool: inside"),
             "virtual_host dns: spec.sluice.quic.server_id_length: server_id_length is required; expected Bytes of the "
             "server ID, which follows the first byte.\n"},
        Case{"quic_rotation", "", "", dns("quic: {server_id_length: 1, config_rotation: 7}", "snat_pool: inside"),
             "virtual_host dns: spec.sluice.quic.config_rotation: 7 is too large; expected 0 to 6\n"},
        Case{"quic_id_length", "", "", dns("quic: {server_id_length: 2}", "snat_pool: inside", "port: 53", "a1", "a2b3"),
             "endpoint dns-1: spec.sluice.quic_server_id: 'a1' is 1 bytes, but virtual_host dns has server IDs of 2; "
             "expected 4 hexadecimal digits\n"},
        Case{"quic_id_twice", "", "", dns("quic: {server_id_length: 1}", "snat_pool: inside", "port: 53", "a1", "A1"),
             "endpoint dns-2: spec.sluice.quic_server_id: endpoint dns-1 and endpoint dns-2 of cluster dns have the server "
             "ID a1; expected a server ID of its own for each endpoint\n"},
        Case{"quic_without_ids", "", "", dns("quic: {server_id_length: 1}", "snat_pool: inside", "port: 53", "", ""),
             "virtual_host dns: spec.sluice.quic: no endpoint of cluster dns has a quic_server_id; expected a "
             "quic_server_id for each endpoint\n"},
        Case{"one_packet", "", "", dns("one_packet: true", "forwarding: NAT"), ""},
        Case{"one_packet_full_nat", "", "", dns("one_packet: true", "snat_pool: inside"),
             "virtual_host dns: spec.sluice.one_packet: cluster dns forwards by FULL_NAT, whose answers need a record to "
             "find their client; expected forwarding NAT, or no one_packet\n"},
        Case{"one_packet_tcp", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {one_packet: true}", "",
             "virtual_host web: spec.sluice.one_packet: one_packet is for UDP, and virtual_host web is a TCP_PROXY; "
             "expected proxy UDP_PROXY\n"},
        Case{"one_packet_limit", "", "", dns("one_packet: true, connection_limit: 5", "forwarding: NAT"),
             "virtual_host dns: spec.sluice.one_packet: connection_limit does not go with one_packet, which keeps no "
             "flows; expected one of the two\n"},
        Case{"one_packet_lb_port", "", "", dns("one_packet: true", "forwarding: NAT, lb_port: {}"),
             "virtual_host dns: spec.sluice.one_packet: lb_port does not go with one_packet, which keeps no flows; "
             "expected one of the two\n"},
        Case{"one_packet_ranges", "", "", dns("one_packet: true", "forwarding: NAT", "port_ranges: \"53,5353\""),
             "advertise_policy dns: spec: 10.9.0.9:53,5353/udp is more than one address and port, and virtual_host dns has "
             "one_packet: answers would not tell which was asked; expected one address and one port\n"},
        Case{"one_packet_shared", "", "",
             dns("one_packet: true", "forwarding: NAT") +
                 "---\nkind: virtual_host\nmetadata: {name: dns2}\nspec: {proxy: UDP_PROXY, advertise_policies: [{name: "
                 "dns2}], routes: [{name: dns}]}\n---\nkind: advertise_policy\nmetadata: {name: dns2}\nspec: {address: "
                 "10.9.0.10, protocol: UDP, port: 53}\n",
             "virtual_host dns2: spec.sluice.one_packet: endpoint dns-1 answers for 10.9.0.9:53/udp (virtual_host dns) and "
             "for 10.9.0.10:53/udp (virtual_host dns2): with one_packet nothing would tell which was asked; expected "
             "endpoints of its own for a virtual host with one_packet\n"},
        Case{"vip_is_endpoint", "address: 10.9.0.1", "address: 10.2.0.12", "",
             "endpoint web-2: spec.ip: 10.2.0.12 is the address of endpoint web-2 and also of "
             "virtual_host web (advertise_policy web): packets would go round in "
             "a circle; expected an endpoint with an address of its own\n"},
        Case{"vip_is_own", "address: 10.9.0.1", "address: 10.1.0.1", "",
             "advertise_policy web: spec.address: 10.1.0.1 is claimed twice: by advertise_policy "
             "web as a VIP and by port outside of node lb; expected an address of "
             "its own for the VIP\n"},
        Case{"vip_is_snat", "address: 10.9.0.1", "address: 10.2.0.100", "",
             "advertise_policy web: spec.address: 10.2.0.100 is claimed twice: by advertise_policy "
             "web as a VIP and by SNAT pool inside of node lb; expected an "
             "address of its own for the VIP\n"},
        Case{"vip_is_multicast", "address: 10.9.0.1", "address: 224.0.0.5", "",
             "advertise_policy web: spec.address: 224.0.0.5 is a multicast address; expected a "
             "unicast address\n"},
        Case{"endpoint_is_snat", "ip: 10.2.0.11", "ip: 10.2.0.100", "",
             "endpoint web-1: spec.ip: 10.2.0.100 is claimed twice: by endpoint web-1 and by SNAT "
             "pool inside of the node; expected an endpoint on another box, or at one of node.exception_port.addresses\n"},
        Case{"two_endpoints_one_place", "ip: 10.2.0.12", "ip: 10.2.0.11", "",
             "cluster web: spec.endpoints: endpoint web-1 and endpoint web-2 are both "
             "10.2.0.11:8080; expected one endpoint for an address and port\n"},
        Case{"families", "{name: web-2}]", "{name: web-3}]", v6_endpoint, ""},
        Case{"families_nat",
             "{name: web-2}]\n  sluice: {algorithm: MAGLEV, forwarding: FULL_NAT, snat_pool: "
             "inside}",
             "{name: web-3}]\n  sluice: {forwarding: NAT}", v6_endpoint,
             "advertise_policy web: spec.address: the IPv4 VIP 10.9.0.1:80/tcp leads to the IPv6 "
             "endpoint web-3 (fd00:2::11): NAT does not translate between the families; expected a VIP "
             "and endpoints of one family, or forwarding FULL_NAT or SPLICE\n"},
        Case{"families_splice",
             "{name: web-2}]\n  sluice: {algorithm: MAGLEV, forwarding: FULL_NAT",
             "{name: web-3}]\n  sluice: {forwarding: SPLICE", v6_endpoint, ""},
        Case{"policy_protocol", "address: 10.9.0.1, protocol: TCP",
             "address: 10.9.0.1, protocol: UDP", "",
             "advertise_policy web: spec.protocol: advertise_policy web is udp but virtual_host "
             "web is a TCP_PROXY; expected TCP\n"},
        Case{"endpoint_protocol", "ip: 10.2.0.11, port: 8080, protocol: TCP",
             "ip: 10.2.0.11, port: 8080, protocol: UDP", "",
             "endpoint web-1: spec.protocol: endpoint web-1 is udp but virtual_host web is a "
             "TCP_PROXY; expected TCP\n"},
        Case{"redirect", "route_destination: {destinations: [{cluster: [{name: web}], weight: 1}]}",
             "route_redirect: {}", "",
             "route web: spec.routes[0].route_redirect: route_redirect belongs to HTTP and is not "
             "allowed for TCP_PROXY and UDP_PROXY; expected route_destination\n"
             "virtual_host web: spec: virtual_host web is not complete: it has no cluster, "
             "endpoint; expected at least one advertise_policy and a route to a cluster "
             "with an endpoint\n"},
        Case{"two_destinations", "weight: 1}]", "weight: 1}, {cluster: [{name: web}]}]", "",
             "route web: spec.routes[0].route_destination.destinations[1]: more than one "
             "destination is not supported by this version; expected one destination\n"},
        Case{"no_snat_pool", ", snat_pool: inside}", "}", "",
             "cluster web: spec.sluice.snat_pool: cluster web forwards by FULL_NAT and names no "
             "SNAT pool; expected one of inside\n"},
        Case{"unknown_snat_pool", "snat_pool: inside}", "snat_pool: insid}", "",
             "cluster web: spec.sluice.snat_pool: the node has no SNAT pool 'insid'; expected one "
             "of inside; did you mean 'inside'?\n"},
        Case{"snat_family", "[\"10.2.0.100\", \"fd00:2::100\"]", "[\"fd00:2::100\"]", "",
             "cluster web: spec.sluice.snat_pool: SNAT pool inside has no IPv4 address for "
             "endpoint web-1 (10.2.0.11); expected a pool with an IPv4 address\n"},
        Case{"nat_with_pool", "forwarding: FULL_NAT", "forwarding: NAT", "",
             "cluster web: spec.sluice.snat_pool: forwarding NAT uses no SNAT pool; expected no "
             "snat_pool, or forwarding FULL_NAT\n"},
        Case{"no_prime", "snat_pool: inside}", "snat_pool: inside, maglev_size: 65536}", "",
             "cluster web: spec.sluice.maglev_size: 65536 is not a prime number; expected a prime "
             "number, such as 65537 or 655373; did you mean '65537'?\n"},
        Case{"unknown_profile", "name: inside, profile: af_xdp", "name: inside, profile: af_xpd",
             "",
             "node lb: spec.ports[1].profile: unknown NIC profile 'af_xpd'; expected one of "
             "af_packet, af_xdp, i40e, ice, ixgbe, memif, mlx5, pcap, ring, tap, virtio; "
             "did you mean 'af_xdp'?\n"},
        Case{"queues", "name: inside, profile: af_xdp", "name: inside, queues: 2, profile: pcap",
             "",
             "node lb: spec.ports[1].queues: 2 queues are more than profile pcap has; expected at "
             "most 1\n"},
        Case{"mtu", "name: inside, profile: af_xdp", "name: inside, mtu: 9000, profile: pcap", "",
             "node lb: spec.ports[1].mtu: MTU 9000 is above that of profile pcap; expected at most "
             "1500\n"},
        Case{"vlan_without_parent", "name: inside, profile: af_xdp", "name: inside, vlan: 7, profile: af_xdp", "",
             "node lb: spec.ports[1].vlan: port inside has a VLAN id and no parent; expected the port that carries the VLAN as "
             "parent\n"},
        Case{"unknown_parent", "name: inside, profile: af_xdp, device: veth-in", "name: inside, vlan: 7, parent: outsid", "",
             "node lb: spec.ports[1].parent: no port 'outsid' that could have sub-interfaces; expected one of outside; did you "
             "mean 'outside'?\n"},
        Case{"no_vlan", "name: inside, profile: af_xdp, device: veth-in", "name: inside, parent: outside", "",
             "node lb: spec.ports[1].vlan: sub-interface inside has no VLAN id; expected 1 to 4094\n"},
        Case{"sub_interface_with_device", "name: inside, profile: af_xdp, device: veth-in",
             "name: inside, vlan: 7, parent: outside, device: veth-in", "",
             "node lb: spec.ports[1].device: sub-interface inside has the device of its parent outside; expected neither profile "
             "nor device\n"},
        Case{"sub_interface_mtu", "name: inside, profile: af_xdp, device: veth-in",
             "name: inside, vlan: 7, parent: outside, mtu: 1600", "",
             "node lb: spec.ports[1].mtu: MTU 1600 is above that of its parent outside; expected at most 1500\n"},
        Case{"no_device", "name: inside, profile: af_xdp, device: veth-in", "name: inside, profile: af_xdp", "",
             "node lb: spec.ports[1].device: port inside has no device; expected an interface, PCI address or socket, as the "
             "profile wants it\n"},
        Case{"port_name_twice", "name: inside, profile", "name: outside, profile", "",
             "node lb: spec.ports[1].name: two ports are called 'outside': ports[0] and ports[1]; "
             "expected a name of its own\n"},
        Case{"device_twice", "device: veth-in", "device: veth-out", "",
             "node lb: spec.ports[1].device: device veth-out is used by two ports: outside and "
             "inside; expected a device of its own\n"},
        Case{"device_with_a_comma", "device: veth-in", "device: \"veth-in,queues=9\"", "",
             "node lb: spec.ports[1].device: 'veth-in,queues=9' is not accepted; expected "
             "printable characters without ',', '{', '}' and space\n"},
        Case{"own_address_twice", "\"10.2.0.1/24\"", "\"10.1.0.1/24\"", "",
             "node lb: spec.ports[1].addresses[0]: 10.1.0.1 is claimed twice: by port outside and "
             "by port inside; expected an address of its own\n"},
        Case{"snat_is_own", "[\"10.2.0.100\"", "[\"10.2.0.1\"", "",
             "node lb: spec.snat_pools[0].addresses[0]: 10.2.0.1 is claimed twice: by port inside "
             "and by SNAT pool inside; expected an address of its own\n"},
        Case{"next_hop_elsewhere", "next_hop: 10.1.0.254", "next_hop: 10.7.0.254", "",
             "node lb: spec.routes[0].next_hop: 10.7.0.254 is in the network of no port; expected "
             "an address in 10.1.0.0/24 (port outside), fd00:1::/64 (port "
             "outside), 10.2.0.0/24 (port inside), fd00:2::/64 (port inside)\n"},
        Case{"next_hop_is_own", "next_hop: 10.1.0.254", "next_hop: 10.1.0.1", "",
             "node lb: spec.routes[0].next_hop: 10.1.0.1 is this box's own address on port "
             "outside; expected the address of a neighbour\n"},
        Case{"next_hop_family", "prefix: \"0.0.0.0/0\"", "prefix: \"fd00:9::/64\"", "",
             "node lb: spec.routes[0].next_hop: 10.1.0.254 is not of the family of fd00:9::/64; "
             "expected a next hop of the same family\n"},
        Case{"ports_of_a_pool", "\"fd00:2::100\"]}",
             "\"fd00:2::100\"], port_first: 2000, port_last: 1000}", "",
             "node lb: spec.snat_pools[0].port_first: the first port 2000 is above the last port "
             "1000; expected port_first <= port_last\n"},
        Case{"too_few_ports", "\"fd00:2::100\"]}",
             "\"fd00:2::100\"], port_first: 2000, port_last: 2000}", "",
             "node lb: spec.snat_pools[0]: 1 ports are fewer than the 2 workers that share them; "
             "expected at least one port for each worker\n"},
        Case{"worker_twice", "workers: [0, 1]", "workers: [1, 1]", "",
             "node lb: spec.workers[1]: CPU 1 is given twice; expected a CPU of its own for each "
             "worker\n"},
        Case{"second_node", "", "", replaced(node_yaml(), "name: lb", "name: other"),
             "node other: metadata.name: a second node; node lb exists already; expected one node "
             "for a box; did you mean 'lb'?\n"}),
    [](const auto& info) { return info.param.name; });

// The base configuration with endpoints that get packets as they are.
std::string dsr_yaml(const std::string& forwarding) {
  std::string yaml = replaced(base_yaml(), "forwarding: FULL_NAT, snat_pool: inside", "forwarding: " + forwarding);
  for (const char* ip : {"10.2.0.11", "10.2.0.12"}) {
    yaml = replaced(yaml, std::string("ip: ") + ip + ", port: 8080", std::string("ip: ") + ip + ", port: 80");
  }
  return yaml;
}

struct DsrCase {
  const char* name;
  const char* forwarding;
  std::string from, to, errors;
};

class ValidateDsr : public testing::TestWithParam<DsrCase> {};

TEST_P(ValidateDsr, RefusesAndSaysWhy) {
  const DsrCase& c = GetParam();
  EXPECT_EQ(text_of(findings_of(c.from.empty() ? dsr_yaml(c.forwarding) : replaced(dsr_yaml(c.forwarding), c.from, c.to))),
            c.errors);
}

INSTANTIATE_TEST_SUITE_P(
    All, ValidateDsr,
    testing::Values(
        DsrCase{"l2", "DSR_L2", "", "", ""}, DsrCase{"ipip", "DSR_IPIP", "", "", ""},
        DsrCase{"gue", "DSR_GUE, gue_port: 9886", "", "", ""},
        DsrCase{"ipv4_in_ipv6", "DSR_IPIP", "ip: 10.2.0.11", "ip: \"fd00:2::11\"", ""},
        DsrCase{"port", "DSR_IPIP", "ip: 10.2.0.12, port: 80", "ip: 10.2.0.12, port: 8080",
                "endpoint web-2: spec.port: endpoint web-2 is reached by DSR_IPIP of cluster web, which leaves packets as "
                "they are, so its port 8080 cannot differ from port 80 of advertise_policy web (10.9.0.1:80/tcp); "
                "expected port 80\n"},
        DsrCase{"pool", "DSR_GUE, snat_pool: inside", "", "",
                "cluster web: spec.sluice.snat_pool: forwarding DSR_GUE uses no SNAT pool; expected no snat_pool, or "
                "forwarding FULL_NAT\n"},
        DsrCase{"gue_port_of_ipip", "DSR_IPIP, gue_port: 9886", "", "",
                "cluster web: spec.sluice.gue_port: forwarding DSR_IPIP puts nothing into UDP; expected no gue_port, or "
                "forwarding DSR_GUE\n"},
        DsrCase{"far_for_l2", "DSR_L2", "ip: 10.2.0.12", "ip: 10.7.0.12",
                "cluster web: spec.sluice.forwarding: DSR_L2 reaches neighbours only, and endpoint web-2 (10.7.0.12) is "
                "behind a router of port outside; expected an endpoint in a network of a port, or forwarding DSR_IPIP or "
                "DSR_GUE\n"},
        DsrCase{"family_of_l2", "DSR_L2", "ip: 10.2.0.12", "ip: \"fd00:2::12\"",
                "advertise_policy web: spec.address: the IPv4 VIP 10.9.0.1:80/tcp leads to the IPv6 endpoint web-2 "
                "(fd00:2::12) by DSR_L2; expected a VIP and endpoints of one family; DSR_IPIP and DSR_GUE also take IPv4 "
                "to IPv6 endpoints\n"},
        DsrCase{"ipv6_in_ipv4", "DSR_IPIP", "address: 10.9.0.1", "address: \"fd00:9::1\"",
                "advertise_policy web: spec.address: the IPv6 VIP [fd00:9::1]:80/tcp leads to the IPv4 endpoint web-1 "
                "(10.2.0.11) by DSR_IPIP; expected a VIP and endpoints of one family; DSR_IPIP and DSR_GUE also take IPv4 "
                "to IPv6 endpoints\n"},
        DsrCase{"proxy_protocol", "DSR_IPIP", "  sluice: {algorithm", "  proxy_protocol_v2: {}\n  sluice: {algorithm",
                "cluster web: spec.proxy_protocol_v2: forwarding DSR_IPIP cannot put a PROXY header before a client's "
                "bytes; expected spec.sluice.forwarding SPLICE\n"},
        DsrCase{"syn_cookies", "DSR_L2", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY\n  sluice: {syn_cookies: ALWAYS}",
                "virtual_host web: spec.sluice.syn_cookies: cluster web forwards by DSR_L2: an endpoint that answers "
                "clients itself cannot take over a connection that we have answered; expected no syn_cookies, or "
                "forwarding FULL_NAT\n"},
        DsrCase{"server_names", "DSR_L2", "  proxy: TCP_PROXY", "  proxy: TCP_PROXY_WITH_SNI\n  domains: [a.example]",
                "cluster web: spec.sluice.forwarding: virtual_host web is a TCP_PROXY_WITH_SNI: its clients are answered "
                "before an endpoint is chosen; expected SPLICE\n"}),
    [](const auto& info) { return info.param.name; });

TEST(ValidateDsrNode, NoRouteAndNoAddressForTheOuterHeader) {
  const std::string no_route = replaced(replaced(dsr_yaml("DSR_GUE"), "ip: 10.2.0.12", "ip: 10.7.0.12"),
                                        "prefix: \"0.0.0.0/0\"", "prefix: 10.8.0.0/16");
  EXPECT_EQ(text_of(findings_of(no_route)),
            "cluster web: spec.sluice.forwarding: DSR_GUE: no route of node lb leads to endpoint web-2 (10.7.0.12); "
            "expected a route to it in spec.routes of the node\n");
  // An IPv4 endpoint by way of an IPv6 next hop, on a port without an IPv4 address.
  const std::string no_address =
      replaced(replaced(replaced(dsr_yaml("DSR_GUE"), "ip: 10.2.0.12", "ip: 10.7.0.12"), "addresses: [\"10.1.0.1/24\", ", "addresses: ["),
               "next_hop: 10.1.0.254", "next_hop: \"fd00:1::fe\"");
  EXPECT_EQ(text_of(findings_of(no_address)),
            "node lb: spec.routes[0].next_hop: fd00:1::fe is not of the family of 0.0.0.0/0; expected a next hop of the same "
            "family\n"
            "cluster web: spec.sluice.forwarding: DSR_GUE: port outside, which leads to endpoint web-2 (10.7.0.12), has no "
            "IPv4 address for the outer header; expected an IPv4 address on port outside\n");
}

TEST(ValidateDsrNode, IPv6NeedsItsLeastMtuOutsideTheTunnel) {
  std::string yaml = replaced(dsr_yaml("DSR_GUE"), "address: 10.9.0.1", "address: \"fd00:9::1\"");
  for (const char* last : {"11", "12"}) {
    yaml = replaced(yaml, std::string("ip: 10.2.0.") + last, std::string("ip: \"fd00:2::") + last + "\"");
  }
  EXPECT_EQ(text_of(findings_of(replaced(yaml, "{name: inside, profile", "{name: inside, mtu: 1280, profile"))), "");
  EXPECT_EQ(text_of(findings_of(replaced(yaml, "{name: inside, profile", "{name: inside, mtu: 1279, profile"))),
            "node lb: spec.ports[1].mtu: MTU 1279 of port inside, which leads to endpoint web-1 by DSR_GUE, is less than IPv6 "
            "needs; expected at least 1280\n");
}

TEST(ValidateDsrNode, ChecksPastTheTunnelAreWarnedOf) {
  const std::string yaml = replaced(dsr_yaml("DSR_GUE"), "  sluice: {algorithm", "  health_checks: [{name: tcp}]\n  sluice: {algorithm") +
                           "---\nkind: healthcheck\nmetadata: {name: tcp}\nspec: {tcp_health_check: {}}\n";
  const auto findings = findings_of(yaml);
  EXPECT_EQ(text_of(findings), "");
  ASSERT_EQ(findings.warnings.size(), 1u);
  EXPECT_EQ(findings.warnings[0],
            "cluster web: its health checks ask the endpoints' own addresses; they go the way of clients, to the VIP, when "
            "node lb has an exception_port");
  EXPECT_TRUE(findings_of(replaced(yaml, "  workers: [0, 1]", "  workers: [0, 1]\n  exception_port: {interface: sluice0}"))
                  .warnings.empty());
}

TEST(ValidateWorld, NoNode) {
  EXPECT_EQ(text_of(findings_of(web_yaml())),
            "virtual_host web: : virtual_host web has no box to run on: there is no node object; "
            "expected a node object with at least one port\n");
}

TEST(ValidateWorld, APartOfAConfigurationIsAccepted) {
  EXPECT_EQ(
      text_of(findings_of("kind: endpoint\nmetadata: {name: e}\nspec: {ip: 10.0.0.1, port: 80}\n")),
      "");
}

TEST(ValidateWorld, AVipThatTheHostHolds) {
  const auto findings = findings_of(base_yaml(), {{*IpAddress::parse("10.9.0.1"), "eth7"}});
  EXPECT_NE(text_of(findings).find("10.9.0.1 is claimed twice: by advertise_policy web as a VIP "
                                   "and by this host, on interface eth7"),
            std::string::npos);
}

TEST(ValidateWorld, ASnatAddressThatTheHostHolds) {
  const auto findings = findings_of(base_yaml(), {{*IpAddress::parse("10.2.0.100"), "eth7"}});
  EXPECT_NE(text_of(findings).find("10.2.0.100 is an address of this host, on interface eth7"),
            std::string::npos);
}

TEST(ValidateWorld, AnOwnAddressThatTheHostHoldsIsWarnedOf) {
  const auto findings = findings_of(base_yaml(), {{*IpAddress::parse("10.1.0.1"), "veth-out"}});
  EXPECT_EQ(text_of(findings), "");
  ASSERT_EQ(findings.warnings.size(), 1u);
  EXPECT_NE(findings.warnings[0].find("port outside takes 10.1.0.1 from the host"),
            std::string::npos);
}

TEST(ValidateWorld, TheExceptionPortMayHoldOurAddresses) {
  const std::string yaml = replaced(base_yaml(), "  workers: [0, 1]",
                                    "  workers: [0, 1]\n  exception_port: {interface: sluice0}");
  const auto findings = findings_of(yaml, {{*IpAddress::parse("10.1.0.1"), "sluice0"}});
  EXPECT_EQ(text_of(findings), "");
  EXPECT_TRUE(findings.warnings.empty());
}

TEST(ValidateWorld, AddressesOfTheExceptionPortAreForEndpointsOnly) {
  const auto with = [](const std::string& addresses, const std::string& endpoint) {
    const std::string yaml = replaced(base_yaml(), "  workers: [0, 1]",
                                      "  workers: [0, 1]\n  exception_port: {interface: sluice0, addresses: [" + addresses + "]}");
    return text_of(findings_of(replaced(yaml, "ip: 10.2.0.11,", "ip: " + endpoint + ",")));
  };
  EXPECT_EQ(with("192.168.77.1, \"fd77::1\"", "192.168.77.1"), "");
  EXPECT_EQ(with("10.1.0.1", "10.2.0.11"),
            "node lb: spec.exception_port.addresses[0]: 10.1.0.1 is claimed twice: by port outside and by the exception port; "
            "expected an address of its own\n");
  EXPECT_EQ(with("127.0.0.1", "10.2.0.11"),
            "node lb: spec.exception_port.addresses[0]: 127.0.0.1 is a loopback address; expected a unicast address\n");
  EXPECT_EQ(with("10.9.0.1", "10.2.0.11"),
            "advertise_policy web: spec.address: 10.9.0.1 is claimed twice: by advertise_policy web as a VIP and by the "
            "exception port; expected an address of its own for the VIP\n");
}

TEST(ValidateWarnings, SettingsThatDoNothingAreNamed) {
  const auto warnings_of = [](const std::string& settings) {
    const auto findings = findings_of(replaced(base_yaml(), "proxy: TCP_PROXY", "proxy: TCP_PROXY\n  sluice: {" + settings + "}"));
    EXPECT_EQ(text_of(findings), "");
    return findings.warnings;
  };
  EXPECT_EQ(warnings_of("syn_cookie_threshold: 5, hello_timeout: 1s"),
            (std::vector<std::string>{
                "virtual_host web: sluice.syn_cookie_threshold does nothing: syn_cookies is NEVER, not ON_THRESHOLD",
                "virtual_host web: sluice.hello_timeout does nothing: cluster web forwards by FULL_NAT, which waits for no "
                "first bytes of a client"}));
  EXPECT_TRUE(warnings_of("syn_cookies: ON_THRESHOLD, syn_cookie_threshold: 5, reset_on_expiry: true").empty());
}

TEST(ValidateWarnings, MatchIsIgnoredAndSaidSo) {
  const auto findings =
      findings_of(replaced(base_yaml(), "    - route_destination",
                           "    - match: [{path: {prefix: /a}}]\n      route_destination"));
  EXPECT_EQ(text_of(findings), "");
  ASSERT_EQ(findings.warnings.size(), 1u);
  EXPECT_EQ(findings.warnings[0],
            "route web: spec.routes[0].match is ignored: TCP_PROXY and UDP_PROXY choose by address "
            "and port only");
}

}  // namespace
}  // namespace sluice::validate_test
