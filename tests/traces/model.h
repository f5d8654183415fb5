// Model: the configuration of a trace's world, as its `config` and `set` lines say it, and the snapshot it becomes.
//
// Without a `port`, `route` or `snat` line a world has the usual ones:
//   port outside 10.1.0.1/24 fd00:1::1/64      route 0.0.0.0/0 via 10.1.0.254   ::/0 via fd00:1::fe
//   port inside  10.2.0.1/24 fd00:2::1/64      snat inside 10.2.0.100 fd00:2::100 ports 1024-65535
//
// Statements, each ended by `;`, `}` or the end of the line:
//   port NAME ADDRESS/LENGTH... [mtu N] [rss unstable] [vlan ID on PARENT]
//   route PREFIX via ADDRESS | route PREFIX dev PORT
//   snat NAME ADDRESS... [ports FIRST-LAST]
//   cluster NAME { endpoint ADDRESS:PORT [weight N]; forwarding nat|full_nat|splice|dsr_l2|dsr_ipip|dsr_gue; proxy v1|v2; choice hash|rotate|random|least; snat NAME; }
//   cluster NAME endpoint ADDRESS:PORT up|down|drain|unknown|remove|add
//   cluster NAME persist N/M                                   by N bits of an IPv4 client's address, M of IPv6 (choice hash)
//   cluster NAME lb_port on                                    endpoints are reached at the port that the client asked for
//   vip ADDRESS:PORT/PROTOCOL { cluster NAME; idle 60s; pending; mss N; cookies; cookies_from N; hello 10s; }
//   vip ADDRESS:PORT/udp { quic ROTATION/BYTES; one_packet; }    with: cluster NAME endpoint ADDRESS:PORT server_id HEX
//   vip ADDRESS:PORT/tcp { name a.example CLUSTER [ALPN]; name *.example CLUSTER; default CLUSTER; }    looks at server names
//   vip ADDRESS:PORT/tcp { matches EXPRESSION CLUSTER [ALPN]; }
//   vip ADDRESS:PORT/tcp { proxied PREFIX...; }                  clients come through proxies there, which begin with a PROXY header
//   vip ADDRESS:PORT/PROTOCOL remove|pending|ready             PORT: also 80,8080-8191 and *; ADDRESS: also 10.9.0.0/28
//   timeouts opening 10s closing 60s closed 10s reset 5s
//   icmp errors N echoes N  (a second)
//   fragments datagrams N held N  (bytes)
//   lcores N    replies hash    flows N    splices N    neighbors auto|manual    exception on [ADDRESS...]|off
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/snapshot_writer.h"
#include "tests/traces/packet_text.h"

namespace sluice::trace {

struct PortModel {
  std::string name;
  std::vector<std::string> addresses;  // with lengths
  std::uint16_t mtu = 1'500;
  bool is_rss_stable = true;
  std::uint16_t vlan = 0;  // 0: a port of its own
  std::string parent;
};

struct RouteModel {
  IpPrefix prefix;
  IpAddress next_hop;  // unset: on the link
  std::string port;    // empty: the one on whose link next_hop is
};

struct SnatModel {
  std::string name;
  std::vector<IpAddress> addresses;
  std::uint16_t port_first = 1'024, port_last = 65'535;
};

struct EndpointModel {
  std::string text;  // "10.2.0.11:8080"
  IpAddress address;
  std::uint16_t port = 0;
  std::uint16_t weight = 1;
  EndpointState state = EndpointState::up;
  std::uint32_t id = 0;
  std::string quic_server_id;  // bytes
};

struct ClusterModel {
  std::string name;
  std::vector<EndpointModel> endpoints;
  Forwarding forwarding = Forwarding::full_nat;
  Choice choice = Choice::rotate;
  ProxyProtocol proxy_protocol = ProxyProtocol::none;
  std::string snat;  // empty: the first
  std::uint32_t endpoint_flows_max = 0;
  bool is_lb_port = false;
  std::uint8_t source_length_v4 = 0, source_length_v6 = 0;
};

struct ServerNameModel {
  std::string name, cluster, alpn;
};

struct VipModel {
  std::string text;  // "10.9.0.1:80/tcp"
  IpPrefix where;
  std::vector<PortRange> ports;
  std::uint8_t protocol = 0;
  std::string cluster;
  std::uint32_t idle_ms = 0;
  VipState state = VipState::ready;
  std::uint16_t mss_max = 0;
  std::uint32_t id = 0;
  std::vector<PrefixRule> sources;  // `allow PREFIX`, `deny PREFIX`: the first that holds a source decides
  VipLimitsRow limits = no_limits;  // `flows_max N`, `rate new|source_new|packets|source_packets N` a second
  bool has_limits = false;
  SynCookies syn_cookies = SynCookies::never;  // `cookies`, or `cookies_from N` half-open connections
  QuicRouting quic;  // no server_id_bytes: none
  bool is_one_packet = false;
  std::uint32_t hello_ms = 10'000;
  std::vector<ServerNameModel> names;     // `name NAME CLUSTER [ALPN]`
  std::vector<ServerNameModel> patterns;  // `matches EXPRESSION CLUSTER [ALPN]`, of which the first counts
  std::string default_cluster;
  bool is_reset_on_expiry = false;
  std::vector<PrefixRule> proxies;  // `proxied PREFIX...`
};

std::optional<std::uint64_t> parse_duration_ms(const std::string& word);  // "31s", "250ms", "1h", "5m"

class Model {
 public:
  // Takes in the statements of one line. Errors name the word.
  Result<void> change(const Words& words);

  Result<SnapshotBuffer> compile() const;

  const std::vector<PortModel>& ports() const { return is_usual_ports_ ? usual_ports() : ports_; }
  // Next hop and port index for a destination, found without the product's code; nothing when there is no route.
  struct Hop {
    IpAddress address;
    std::uint16_t port;
  };
  std::optional<Hop> hop_to(IpAddress destination) const;
  std::vector<RouteModel> routes() const;  // connected ones included
  const EndpointModel* endpoint(const std::string& text) const;
  const VipModel* vip(const std::string& text) const;

  std::vector<IpPrefix> blocked;      // `block PREFIX`; `block none`
  std::uint32_t lcore_count = 1;
  std::uint64_t flow_capacity = 1'024;
  std::uint64_t splice_capacity = 256;
  bool answers_for_neighbors = true;  // an ideal network: whoever is asked for answers at once
  bool has_exception_port = false;           // `exception on [ADDRESS...]`: addresses of our kernel behind it; `exception off`
  std::vector<IpAddress> kernel_addresses;
  bool is_kernel_address(IpAddress address) const {
    return std::find(kernel_addresses.begin(), kernel_addresses.end(), address) != kernel_addresses.end();
  }
  bool replies_by_hash = false;       // SNAT ports are chosen so that replies hash to their lcore

 private:
  static const std::vector<PortModel>& usual_ports();
  // model_words.cc
  Result<void> change_cluster(const Words& words, std::size_t& at);
  Result<void> change_vip(const Words& words, std::size_t& at);
  Result<void> set_cluster(ClusterModel& cluster, const Words& statement);
  Result<void> set_endpoint(ClusterModel& cluster, const std::string& text, const Words& rest);
  Result<void> change_node(const Words& line);
  Result<void> change_port(const Words& line);
  Result<void> change_route(const Words& line);
  Result<void> change_snat(const Words& line);
  Result<void> change_timeouts(const Words& line);
  Result<void> change_exception(const Words& line);
  Result<void> change_blocklist(const Words& line);
  // model_compile.cc
  std::uint16_t tunnel_source_for(IpAddress endpoint) const;
  std::uint32_t row_of(const std::string& cluster) const;
  void write_node(SnapshotWriter& writer) const;
  void write_ports(SnapshotWriter& writer) const;
  Result<void> write_routes(SnapshotWriter& writer) const;
  void write_clusters(SnapshotWriter& writer) const;
  Result<void> write_vip(SnapshotWriter& writer, const VipModel& vip) const;
  Result<void> write_names(SnapshotWriter& writer, const VipModel& vip, const VipRow& row, std::uint32_t listener) const;

  bool is_usual_ports_ = true, is_usual_routes_ = true, is_usual_snats_ = true;
  std::vector<PortModel> ports_;
  std::vector<RouteModel> routes_;
  std::vector<SnatModel> snats_;
  std::vector<ClusterModel> clusters_;
  std::vector<VipModel> vips_;
  std::uint32_t opening_ms_ = 10'000, closing_ms_ = 60'000, closed_ms_ = 10'000, reset_ms_ = 5'000;
  std::uint32_t fragment_datagrams_ = 4'096, fragment_held_bytes_ = 1'048'576;
  std::uint32_t icmp_errors_ = 1'000, icmp_echoes_ = 10'000;
  mutable std::uint64_t generation_ = 0;
  // As mgmt does: an id is given to a name once and not used again.
  std::map<std::string, std::uint32_t> vip_ids_, endpoint_ids_;
};

}  // namespace sluice::trace
