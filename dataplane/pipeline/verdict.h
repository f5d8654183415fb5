// Verdicts: how a packet's walk through the pipeline ends. Each packet gets exactly one.
//
// The list is the one place to add a verdict: name, and the sentence that `show drops` prints to the
// operator: what happened and, where there is something to do, what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice {

// clang-format off
#define SLUICE_VERDICTS(X)                                                                                  \
  X(undecided, "still in the pipeline; never counted")                                                      \
  X(forward, "sent to an endpoint or a client")                                                             \
  X(reply, "turned around by the balancer itself: ping, SYN cookies, acknowledgments of half a ClientHello or PROXY header")    \
  X(reject_no_endpoint, "TCP to a VIP whose cluster has no endpoint that takes new flows; answered with a reset")  \
  X(reject_flow_ended, "its endpoint was drained and the deadline has passed; answered with a reset")                \
  X(reject_connection_limit, "TCP to a VIP that has all the connections that it or its endpoints may have; answered with a reset")     \
  X(reject_ttl_expired, "time to live ran out here; answered with ICMP time exceeded, as traceroute wants it")          \
  X(reject_mtu_exceeded, "longer than the MTU of the port it must leave by; answered with the MTU that fits")          \
  X(reject_cookie_invalid, "a segment of no known flow whose SYN cookie is not ours or too old; answered with a reset") \
  X(reject_proxy_untrusted, "to a VIP with accept_proxy_protocol from outside of its trusted_prefixes; answered with a reset") \
  X(reject_not_proxy, "a VIP with accept_proxy_protocol was sent something else than a PROXY header; does the proxy before it send one? Answered with a reset") \
  X(reject_proxy_malformed, "a PROXY header that breaks the rules of its version; answered with a reset")             \
  X(reject_proxy_checksum_wrong, "a PROXY header (version 2) whose CRC32C is not that of its bytes; answered with a reset") \
  X(reject_proxy_too_long, "a PROXY line of more than 107 bytes, or a PROXY header (version 2) of more than 4 KiB; answered with a reset") \
  X(reject_not_tls, "a VIP that looks at server names was sent something else than TLS; answered with a reset")      \
  X(reject_hello_malformed, "a ClientHello that breaks the rules of TLS; answered with a reset")                      \
  X(reject_hello_too_long, "a ClientHello of more than 16 KiB; answered with a reset")                                \
  X(reject_hello_incomplete, "the client ended before its PROXY header or ClientHello was whole; answered with a reset")              \
  X(reject_name_unknown, "a server name that no virtual host of the VIP has, or none; answered with a TLS alert and a reset") \
  X(punt, "given to the kernel of this box through the exception port")                                     \
  X(handoff, "given to the lcore that owns the flow")                                                       \
  X(absorb, "taken in: ARP and neighbour discovery, answers to questions of our own, and what is held of a connection until its endpoint has answered") \
  X(hold, "waiting for the next hop's hardware address")                                                    \
  X(drop_frame_truncated, "shorter than its headers say")                                                   \
  X(drop_ether_type_unknown, "neither ARP, IPv4 nor IPv6")                                                  \
  X(drop_vlan_unknown, "carries a VLAN tag for which the port has no sub-interface; add a port with its parent and vlan") \
  X(drop_vlan_stacked, "carries two VLAN tags (QinQ), or one that is not 802.1Q; the switch has to take one off")  \
  X(drop_mac_not_ours, "sent to another host's hardware address")                                           \
  X(drop_arp_malformed, "ARP that is not for Ethernet and IPv4, or of unknown operation")                   \
  X(drop_arp_not_ours, "ARP for an address that is not ours")                                               \
  X(drop_nd_malformed, "neighbour discovery that breaks RFC 4861 7.1 (hop limit, checksum, length)")        \
  X(drop_nd_not_ours, "neighbour discovery for an address that is not ours")                                \
  X(drop_ip_header_invalid, "IP version, header length or total length cannot be")                          \
  X(drop_ip_checksum_wrong, "IPv4 header checksum is wrong; is checksum offload on at the sender's veth?")  \
  X(drop_fragment_malformed, "a fragment without payload, or not the last and no multiple of eight bytes")  \
  X(drop_fragment_tiny, "a fragment that cuts the transport header in two (RFC 1858)")                      \
  X(drop_fragment_beyond, "a fragment that ends beyond the 65,535 bytes of a datagram")                     \
  X(drop_fragment_overlap, "fragments of one datagram overlap or end twice: all of it is refused (RFC 5722)") \
  X(drop_fragment_duplicate, "a fragment whose bytes were forwarded already")                               \
  X(drop_fragment_scattered, "fragments of one datagram come in too wild an order")                         \
  X(drop_fragment_protocol, "a fragment to a VIP or SNAT address that is neither TCP nor UDP")              \
  X(drop_fragment_checksum_missing, "a fragment of an IPv4 datagram without UDP checksum, to IPv6, which wants one (RFC 7915 4.5)") \
  X(drop_fragment_no_flow, "a fragment of a datagram whose first fragment belongs to no flow")              \
  X(drop_fragment_one_packet, "a fragment to or from a VIP with one_packet: nothing would tell where the others of its datagram go") \
  X(drop_fragment_hold_full, "too many fragments of one datagram wait for its first, or node.fragments allows none to") \
  X(drop_fragment_unclaimed, "its first fragment did not come in node.fragments.timeout, or newer datagrams took the place") \
  X(drop_ipv6_extension_invalid, "IPv6 extension headers are too many, cut off, or ask to be routed on")      \
  X(drop_l4_header_invalid, "TCP data offset, UDP length or ICMP length cannot be")                         \
  X(drop_tcp_flags_invalid, "TCP flags that no stack sends (null, SYN+FIN, SYN+RST, ...)")                  \
  X(drop_udp_checksum_missing, "UDP over IPv6 without a checksum (RFC 8200 8.1)")                           \
  X(drop_source_invalid, "source (address, or hardware address) is loopback, multicast, unspecified or ours")  \
  X(drop_ttl_expired, "time to live ran out here, and node.icmp.errors_per_second allowed no answer")       \
  X(drop_not_local, "destination is none of our addresses")                                                 \
  X(drop_no_vip, "our address, but no virtual host is advertised on this protocol and port")                \
  X(drop_protocol_unsupported, "neither TCP, UDP nor ICMP to one of our VIPs")                              \
  X(drop_tunnel_refused, "IP in IP, GRE or GUE to one of our addresses: we take nothing out of anybody's tunnel")  \
  X(drop_icmp_unhandled, "ICMP to a VIP or SNAT address that is neither an echo request nor an error about a packet") \
  X(drop_icmp_rate_limited, "echo requests beyond node.icmp.echoes_per_second; errors from within tunnels beyond errors_per_second") \
  X(drop_icmp_checksum_wrong, "an ICMP error whose checksum is wrong")                                      \
  X(drop_icmp_inner_invalid, "an ICMP error that quotes less than an IP header and eight bytes, or an impossible header") \
  X(drop_icmp_in_icmp, "an ICMP error about ICMP, which nothing of ours sends to be told about")             \
  X(drop_icmp_tunnel_truncated, "an ICMP error about a packet in a tunnel that quotes too little to tell whose packet is inside") \
  X(drop_icmp_no_flow, "an ICMP error about a packet of no flow, or sent to another than its sender: made up, or late") \
  X(drop_icmp_out_of_window, "an ICMP error that quotes a sequence number which was not sent lately: made up") \
  X(drop_icmp_mtu_refused, "an ICMP error that claims an MTU below 552 (IPv4) or 1280 (IPv6): made up to slow a flow down") \
  X(drop_probe_lost, "a health check of an endpoint that is no longer configured, or is reached another way now")  \
  X(drop_vip_pending, "the VIP waits for its first health verdicts")                                        \
  X(drop_leaving, "a new connection or flow while the dataplane drains (drain dataplane); the client's next try may find another box") \
  X(drop_blocklisted, "the source is in node.blocklist")                                                   \
  X(drop_source_denied, "a service policy of the virtual host denies the source")                           \
  X(drop_connection_limit, "UDP to a VIP that has all the flows that it or its endpoints may have")         \
  X(drop_rate_connections, "more new connections a second than the virtual host's new_connections allows")  \
  X(drop_rate_source_connections, "more new connections a second from one source than new_connections_per_source allows") \
  X(drop_rate_packets, "more packets a second than the virtual host's packets allows")                      \
  X(drop_rate_source_packets, "more packets a second from one source than packets_per_source allows")       \
  X(drop_no_endpoint, "UDP to a VIP whose cluster has no endpoint that takes new flows")                    \
  X(drop_quic_malformed, "a datagram without a flow, to a VIP that routes QUIC, which ends before its connection ID does")      \
  X(drop_quic_unroutable, "a QUIC packet without a flow whose connection ID names none of the endpoints that are up or draining") \
  X(drop_no_flow, "a segment of no known flow that is no SYN; the peer's connection ended or began elsewhere") \
  X(drop_tcp_out_of_window, "its sequence number cannot belong to the handshake: a stray, or ahead of first bytes that are lost or late") \
  X(drop_flow_conflict, "the client has a flow to the endpoint from this port already, through another VIP (NAT)") \
  X(drop_flows_full, "the flow table is full; raise node.flows.capacity")                                   \
  X(drop_splices_full, "as many flows are spliced as may be; raise node.flows.splice_capacity")                \
  X(drop_tcp_checksum_wrong, "first bytes of a client whose TCP checksum is wrong: we would have to vouch for them") \
  X(drop_pending_full, "too many clients have shaken hands and not yet reached an endpoint")                    \
  X(drop_hello_memory_full, "the memory that holds first bytes of clients is used up")                         \
  X(drop_hello_in_pieces, "the first bytes of a client arrive in too many separate pieces; it will send them again") \
  X(drop_snat_ports_exhausted, "no SNAT port is free toward the endpoint; add addresses to the snat_pool")  \
  X(drop_no_snat_address, "the snat_pool has no address of the endpoint's family")                          \
  X(drop_no_route, "no route to the destination; add one to node.routes")                                   \
  X(drop_mtu_exceeded, "longer than the MTU of the port it must leave by; its sender asked for fragments (no DF), or could not be told") \
  X(drop_neighbor_unresolved, "the next hop did not answer ARP or neighbour solicitation")                  \
  X(drop_hold_full, "too many packets wait for the same next hop")                                          \
  X(drop_neighbors_full, "the neighbour table is full")                                                     \
  X(drop_exception_full, "the exception port is absent or does not take more; is the kernel keeping up?")   \
  X(drop_handoff_full, "the owning lcore does not keep up with packets handed to it")                       \
  X(drop_tx_full, "the port's transmit queue is full")                                                      \
  X(drop_link_down, "the link of the port by which it must leave is down: a cable, or its interface in the kernel")  \
  X(drop_no_buffer, "no packet buffer is free")                                                             \
  X(drop_segmented, "arrived in several buffers; lower the port's MTU")                                     \
  X(drop_descriptor_invalid, "its driver, or the other end of a memif, states a length that its buffer does not have")
// clang-format on

enum class Verdict : std::uint8_t {
#define SLUICE_VERDICT_NAME(name, help) name,
  SLUICE_VERDICTS(SLUICE_VERDICT_NAME)
#undef SLUICE_VERDICT_NAME
      count
};

inline constexpr std::size_t verdict_count = static_cast<std::size_t>(Verdict::count);

std::string_view name_of(Verdict verdict);  // "drop_no_flow"
std::string_view help_of(Verdict verdict);
inline bool is_drop(Verdict verdict) { return verdict >= Verdict::drop_frame_truncated; }
// Answered with a reset or an ICMP error.
inline bool is_reject(Verdict verdict) { return verdict >= Verdict::reject_no_endpoint && verdict < Verdict::punt; }
// Whether the packet itself leaves by a port: forward, reply, reject_*.
inline bool is_sent(Verdict verdict) { return verdict == Verdict::forward || verdict == Verdict::reply || is_reject(verdict); }
// "drop.no_flow": the form in which counters are shown.
std::string_view counter_name_of(Verdict verdict);

}  // namespace sluice
