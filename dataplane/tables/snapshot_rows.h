// The rows of a snapshot: what mgmt compiles and the dataplane reads.
//
//   SnapshotHeader | SectionEntry[section_count] | sections, each an array of one row type
//
// There are no pointers: a row names another by its index in that row's section, and a text by a
// NameRef into the `names` section. Rows are plain bytes, written and read on the same machine.
// Any change to a row, or to the meaning of a field, raises snapshot_format.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/hash.h"
#include "dataplane/net/address.h"
#include "dataplane/net/port_range.h"
#include "dataplane/net/proxy_protocol.h"
#include "dataplane/net/quic.h"
#include "dataplane/tables/prefix_table.h"

namespace sluice {

inline constexpr char snapshot_magic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'S', 'N'};
inline constexpr std::uint32_t snapshot_format = 16;
inline constexpr std::uint64_t snapshot_bytes_max = 4ull << 30;

// Limits that the dataplane sizes its tables by.
inline constexpr std::uint32_t workers_max = 16;
inline constexpr std::uint32_t ports_max = 16;
inline constexpr std::uint16_t exception_port = ports_max;  // the TAP toward the kernel, as a port index
inline constexpr std::uint32_t routes_max = 1'024;
inline constexpr std::uint32_t vips_max = 16'384;        // ids are below this
inline constexpr std::uint32_t endpoints_max = 131'072;  // ids are below this
inline constexpr std::uint32_t cluster_endpoints_max = 65'535;
inline constexpr std::uint32_t blocked_max = 131'072;    // networks of the blocklist
inline constexpr std::uint32_t slots_max = 655'373;      // a cluster's table

struct SnapshotHeader {
  char magic[8];
  std::uint32_t format;
  std::uint32_t crc;  // CRC-32C of everything, this field taken as zero
  std::uint64_t total_bytes;
  std::uint64_t generation;
  std::uint32_t section_count;
  std::uint32_t reserved;
};
static_assert(sizeof(SnapshotHeader) == 40);

enum class Section : std::uint32_t {
  node, ports, addresses, routes, snat_pools, snat_addresses, vips, clusters, endpoints, slots, vip_index,
  address_index, return_index, vip_rows_by_id, endpoint_rows_by_id, vip_limits, prefix_tables, prefix_roots,
  prefix_nodes, blocked, names, server_name_index, quic_server_index, vip_network_index, vip_ranges, vip_lengths,
  name_pattern_sets, name_patterns, name_pattern_bytes, route_index, route_lengths, count
};

struct SectionEntry {
  std::uint32_t section;
  std::uint32_t row_bytes;
  std::uint64_t offset;  // from the start of the snapshot
  std::uint64_t row_count;
};
static_assert(sizeof(SectionEntry) == 24);

struct NameRef {
  std::uint32_t offset;
  std::uint32_t bytes;
};

inline constexpr std::uint32_t no_row = 0xffffffff;

// One row. What differs from the running values needs a restart of the dataplane, except where noted.
struct NodeRow {
  NameRef name;
  std::uint64_t flow_capacity;       // records of all lcores together
  std::uint64_t splice_capacity;     // of these, how many may be spliced
  std::uint32_t worker_count;
  std::uint16_t worker_cpus[workers_max];
  std::uint32_t tcp_opening_ms;      // timeouts change at once
  std::uint32_t tcp_closing_ms;      // one side has sent FIN
  std::uint32_t tcp_closed_ms;       // both sides have
  std::uint32_t tcp_reset_ms;
  HashSecret choice_secret;          // for endpoint choice: the same on every box with this configuration
  NameRef exception_interface;       // name of the TAP; empty for none
  std::uint32_t icmp_errors_per_second;  // made by us; 0: none. This and the next change at once
  std::uint32_t icmp_echoes_per_second;  // answered
  std::uint32_t fragment_datagrams_max;  // of each lcore, as the next. These three change at once
  std::uint32_t fragment_held_bytes_max;
  std::uint32_t fragment_timeout_ms;
  std::uint8_t is_idle_backoff;      // changes at once
  std::uint8_t has_any_port_returns; // some is_lb_port cluster forwards by NAT: its endpoints reply from any port
  std::uint8_t has_one_packet_vips;
  std::uint8_t reserved;
  std::uint32_t blocklist;           // row of its prefix table + 1; 0: none. Changes at once
  std::uint32_t routes_check;        // CRC-32C of the routes: next hops stay good from a snapshot to one with the same
};
static_assert(sizeof(NodeRow) == 136);

enum class Steering : std::uint8_t { none, snat_port_hash, flow_rules, handoff };

struct PortRow {
  NameRef name;
  NameRef profile;
  NameRef driver;      // as rte_eth_dev_info_get names it: "net_af_xdp"
  NameRef device;      // what the operator wrote: an interface, a PCI address, a socket
  NameRef eal_option;  // "--vdev=net_af_xdp0,iface=..." or "--allow=0000:01:00.0"; {xdp_prog} is filled in at start
  std::uint64_t rss_hash_fields;     // RTE_ETH_RSS_* bits asked for; 0 for none
  std::uint16_t queue_count;
  std::uint16_t rx_descriptors;
  std::uint16_t tx_descriptors;
  std::uint16_t mtu;                 // bytes of IP packet
  std::uint8_t is_bifurcated;        // our XDP program shares the interface with the kernel
  std::uint8_t is_rss_stable;        // the same flow always arrives on the same queue
  Steering steering[3];              // in order of preference
  std::uint8_t reserved;
  NameRef rss_key;                   // in hexadecimal, of a device that does not tell it; empty: it tells, or has none
  std::uint16_t rss_table_size;      // with the key: entries of its table, one for each queue in turn
  std::uint16_t vlan;                // 0: a port of its own. Else a sub-interface: frames of `parent` with this tag
  std::uint16_t parent;              // its row, of a sub-interface
  std::uint16_t reserved_2;

  bool is_sub_interface() const { return vlan != 0; }
};
static_assert(sizeof(PortRow) == 80);

struct AddressRow {  // an address of the box itself
  IpAddress address;
  std::uint16_t port;  // index; exception_port: the kernel's, where nobody but the dataplane reaches it
  std::uint8_t prefix_length;  // of 128
  std::uint8_t reserved[5];
};
static_assert(sizeof(AddressRow) == 24);

struct RouteRow {  // sorted by falling prefix length; connected networks are among them; of two to one network the first counts
  IpAddress network;
  IpAddress next_hop;          // unset: the destination is on the link
  std::uint16_t port;
  std::uint8_t prefix_length;  // of 128
  std::uint8_t reserved[5];
};
static_assert(sizeof(RouteRow) == 40);

struct SnatPoolRow {
  NameRef name;
  std::uint32_t first_address;  // in snat_addresses; IPv4 first
  std::uint32_t address_count_v4;
  std::uint32_t address_count_v6;
  std::uint16_t port_first;     // both included
  std::uint16_t port_last;
};
static_assert(sizeof(SnatPoolRow) == 24);

// Which ports of its address a VIP takes: `port`; those that its vip_ranges list; every one.
enum class VipPorts : std::uint8_t { one, ranges, all };

enum class VipState : std::uint8_t { ready, pending };  // pending: no health verdict yet
enum class SynCookies : std::uint8_t { never, always, on_threshold };  // see cookie_switches.h

enum class Forwarding : std::uint8_t { full_nat, nat, splice, dsr_l2, dsr_ipip, dsr_gue };  // splice: SNAT too
inline bool has_snat(Forwarding forwarding) { return forwarding == Forwarding::full_nat || forwarding == Forwarding::splice; }
inline bool has_tunnel(Forwarding forwarding) { return forwarding == Forwarding::dsr_ipip || forwarding == Forwarding::dsr_gue; }
inline bool is_dsr(Forwarding forwarding) { return forwarding == Forwarding::dsr_l2 || has_tunnel(forwarding); }

struct VipRow {
  IpAddress address;      // with prefix_length: of a network, every address of which is meant
  NameRef name;           // of the advertise_policy
  NameRef virtual_host;
  std::uint16_t id;       // stable over generations: names this VIP's counters
  std::uint8_t quic;      // QuicRouting::packed: flows without a record go where their connection ID says; 0: no QUIC
  VipPorts ports : 4;
  std::uint8_t is_one_packet : 4;  // UDP, NAT: each datagram is decided by itself and leaves no record
  std::uint32_t cluster;  // row
  std::uint32_t idle_timeout_ms;
  Be16 port;              // ranges: the lowest; all: zero
  std::uint8_t protocol;
  VipState state;
  std::uint32_t hello_timeout_ms;  // a spliced connection that has not said where it wants to go is reset
  std::uint32_t default_vip;       // is_peeking: row for clients whose server name is none of ours; no_row: refused
  std::uint16_t mss_max;           // of TCP, in both directions; 0: as the ends state it
  SynCookies syn_cookies : 4;      // splice clusters: always
  Forwarding forwarding : 4;       // its cluster's
  std::uint8_t is_peeking : 4;     // the TLS server name leads to the row that counts, see server_name_index
  std::uint8_t is_named : 4;       // reached by server name only: shares address and port with an is_peeking row
  std::uint8_t is_reset_on_expiry : 4;  // both ends of an idle TCP flow are told when it is forgotten
  std::uint8_t may_lead_to_v6 : 4; // some endpoint that it may lead to is IPv6
  std::uint8_t prefix_length;      // of 128; 128: one address
  std::uint16_t proxies;           // prefix table + 1 of who must begin with a PROXY header, nobody else may come; 0: none

  bool is_exact() const { return prefix_length == 128 && ports == VipPorts::one; }  // found by one look into vip_index
};
static_assert(sizeof(VipRow) == 64);

struct VipRangeRow {
  PortRange ports;
  std::uint32_t vip;  // row
};
static_assert(sizeof(VipRangeRow) == 8);

// Who takes which ports of one protocol at an address or network: single ports, then ranges, both sorted and none
// overlapping another of its kind, then who takes all. A single port counts before a range that holds it, both before `all`.
struct VipPortsRow {
  std::uint32_t first_range;   // in vip_ranges: the single ports, behind them the ranges
  std::uint32_t single_count;
  std::uint32_t range_count;
  std::uint32_t all;           // VIP row; no_row: nobody
};

// VIPs that are not exact, by address and length, in an open-addressed index. vip_lengths has the lengths that occur, longest
// first: they are tried in that order until one has a taker for the port.
struct VipNetworkRow {
  IpAddress network;
  std::uint8_t prefix_length;  // of 128
  std::uint8_t is_used;
  std::uint8_t reserved[2];
  VipPortsRow tcp, udp;

  const VipPortsRow& of(std::uint8_t protocol) const { return protocol == 17 ? udp : tcp; }
};
static_assert(sizeof(VipNetworkRow) == 56);

enum class Choice : std::uint8_t { hash, rotate, random, least };  // how a slot is picked

struct ClusterRow {
  NameRef name;
  std::uint32_t first_endpoint;
  std::uint32_t endpoint_count;
  std::uint32_t first_slot;
  std::uint32_t slot_count;      // 0: no endpoint takes new flows
  std::uint32_t snat_pool;       // row; no_row without SNAT
  std::uint32_t id;
  Forwarding forwarding;
  Choice choice;
  ProxyProtocol proxy_protocol;      // splice only
  std::uint8_t is_lb_port;           // an endpoint is reached at the port that the client asked for, not at its own
  std::uint32_t endpoint_flows_max;  // of one endpoint, over all lcores; 0: no limit
  std::uint8_t source_length_v4;     // hash: so many bits (of 128) of the client's address choose; 0: its port too, and the VIP
  std::uint8_t source_length_v6;
  Be16 gue_port;                     // DSR_GUE: UDP port at which endpoints take packets out
};
static_assert(sizeof(ClusterRow) == 44);

// Only `up` is in the slots. `ended`: its drain deadline has passed, or it is down and its cluster says so: its flows are reset.
enum class EndpointState : std::uint8_t { up, down, draining, unknown, ended };

struct EndpointRow {  // an endpoint as a member of one cluster
  IpAddress address;
  NameRef name;
  std::uint32_t id;       // stable over generations: names this endpoint's counters
  std::uint32_t cluster;  // row
  Be16 port;
  std::uint16_t weight;
  std::uint8_t protocol;
  EndpointState state;
  std::uint16_t tunnel_source;  // row in addresses: of the outer header, when its cluster has a tunnel
};
static_assert(sizeof(EndpointRow) == 40);

// At most one packet (or flow) every `interval_ns` on average; `burst_ns` is how far it may run ahead. Of the box: an lcore
// admits its share. 0: no limit.
struct RateLimitRow {
  std::uint64_t interval_ns;
  std::uint64_t burst_ns;
};

// What a virtual host admits. The section is empty when no VIP has any limit, else its row i belongs to VIP row i.
struct VipLimitsRow {
  std::uint32_t sources;     // prefix table of who may come; no_row: everybody
  std::uint32_t flows_max;   // at a time, over all lcores; 0: no limit
  RateLimitRow new_flows, source_new_flows;  // of all sources together; of one
  RateLimitRow packets, source_packets;      // from clients
  std::uint32_t cookie_threshold;            // half-open connections over all lcores, with SynCookies::on_threshold
  std::uint32_t reserved;
};
static_assert(sizeof(VipLimitsRow) == 80);
inline constexpr VipLimitsRow no_limits{no_row, 0, {}, {}, {}, {}, 0, 0};

// A network of the blocklist once more, as the XDP programs want it.
struct BlockedRow {
  IpAddress network;
  std::uint8_t length;  // of 128
  std::uint8_t reserved[7];
};
static_assert(sizeof(BlockedRow) == 24);

namespace source_action {
inline constexpr std::uint8_t allow = 1, deny = 2;  // values of a prefix table of sources
}

// What a destination address is to us.
enum class AddressKind : std::uint8_t { none, vip, snat, own };

struct AddressIndexRow {
  IpAddress address;
  AddressKind kind;     // none: an empty place
  std::uint8_t reserved[3];
  std::uint32_t index;  // snat: row in snat_pools; own: row in addresses; vip: nothing
};
static_assert(sizeof(AddressIndexRow) == 24);

// A source whose packets are replies of a NAT-mode cluster. Each stands here with port 0 as well, for fragments.
struct ReturnIndexRow {
  IpAddress address;
  Be16 port;
  std::uint8_t protocol;
  std::uint8_t is_used;
  std::uint8_t is_any_port;  // port 0: whatever port it replies from, see NodeRow::has_any_port_returns
  std::uint8_t reserved[3];
  std::uint32_t one_packet_vip;  // row, is_one_packet: what comes from here was asked there; no_row
  std::uint32_t endpoint;        // its row, then
};
static_assert(sizeof(ReturnIndexRow) == 32);

struct ServerNameRow {  // in an open-addressed index, by listener and name
  NameRef name;          // lower case; a suffix without its "*."
  NameRef alpn;          // only for clients that offer this protocol; empty: for all
  std::uint32_t listener;  // VIP row, is_peeking
  std::uint32_t vip;       // VIP row
  std::uint8_t is_suffix;  // any labels, at least one, may stand before it
  std::uint8_t is_used;
  std::uint8_t reserved[6];
};
static_assert(sizeof(ServerNameRow) == 32);

struct QuicServerRow {  // in an open-addressed index, by cluster and server ID
  std::array<char, quic_server_id_bytes_max> id;
  std::uint8_t id_bytes;   // 0: an empty place
  std::uint32_t cluster;   // row
  std::uint32_t endpoint;  // row

  std::string_view server_id() const { return {id.data(), id_bytes}; }
};
static_assert(sizeof(QuicServerRow) == 24);

// The regular expressions that lead on from a VIP row, in one database (name_patterns.h). Sorted by listener.
struct NamePatternSetRow {
  std::uint32_t listener;       // VIP row, is_peeking
  std::uint32_t first_pattern;  // in name_patterns: from here on they have the numbers 0, 1, ... in the database
  std::uint32_t pattern_count;
  std::uint32_t reserved;
  std::uint64_t first_byte;     // in name_pattern_bytes
  std::uint64_t byte_count;
};
static_assert(sizeof(NamePatternSetRow) == 32);

struct NamePatternRow {  // of those that match a name the first counts
  NameRef expression;    // as it was written
  NameRef alpn;          // only for clients that offer one of these protocols, written as in RFC 7301 3.1; empty: for all
  std::uint32_t vip;     // VIP row
  std::uint32_t reserved;
};
static_assert(sizeof(NamePatternRow) == 24);

}  // namespace sluice
