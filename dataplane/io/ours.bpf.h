// SPDX-License-Identifier: Apache-2.0
// What is the balancer's among the packets of an interface that it shares with the kernel of the host: the maps that
// the process fills (ours_maps.h), and the decision. Shared by xdp_redirect.bpf.c and kernel_guard.bpf.c.
//
// Ours is: IPv4 and IPv6 to one of our addresses, or from a return source (the endpoint of a NAT-mode cluster) to
// anybody but the host; ARP and neighbour solicitations that ask for one of our addresses.
// Names of maps are at most 15 characters, for that is what the kernel keeps.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address_key {
  __u8 bytes[16];  // IPv4 as ::ffff:a.b.c.d
};

struct source_key {
  __u8 address[16];
  __u16 port;  // as on the wire; 0: of a fragment that is not the first
  __u8 protocol;
  __u8 is_any_port;  // with port 0: whatever port it is
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 131072);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct address_key);
  __type(value, __u8);
} sluice_addrs SEC(".maps");

struct prefix_key {
  __u32 bits;  // of the 128-bit form
  __u8 bytes[16];
};

// Networks all of whose addresses are ours.
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct prefix_key);
  __type(value, __u8);
} sluice_nets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 131072);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct source_key);
  __type(value, __u8);
} sluice_sources SEC(".maps");

// Addresses of the host's kernel.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct address_key);
  __type(value, __u8);
} sluice_host SEC(".maps");

static __always_inline void map_v4(__u8 *bytes, __be32 address) {
  __builtin_memset(bytes, 0, 10);
  bytes[10] = 0xff;
  bytes[11] = 0xff;
  __builtin_memcpy(bytes + 12, &address, 4);
}

static __always_inline int is_ours(const struct address_key *key) {
  struct prefix_key network = {.bits = 128};
  if (bpf_map_lookup_elem(&sluice_addrs, key) != 0) return 1;
  __builtin_memcpy(network.bytes, key->bytes, 16);
  return bpf_map_lookup_elem(&sluice_nets, &network) != 0;
}

// An endpoint of a NAT-mode cluster also answers the health checks of the host: those are the kernel's.
static __always_inline int is_reply(struct source_key *key, const struct address_key *to, void *l4, void *end,
                                    int has_ports) {
  if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP) return 0;
  if (has_ports) {
    __be16 *port = l4;
    if ((void *)(port + 1) > end) return 0;
    key->port = *port;
  }
  if (bpf_map_lookup_elem(&sluice_sources, key) == 0) {
    key->port = 0;
    key->is_any_port = 1;
    if (bpf_map_lookup_elem(&sluice_sources, key) == 0) return 0;
  }
  return bpf_map_lookup_elem(&sluice_host, to) == 0;
}

struct arp_packet {
  __be16 hardware_type;
  __be16 protocol_type;
  __u8 hardware_bytes;
  __u8 protocol_bytes;
  __be16 operation;
  __u8 sender_mac[6];
  __u8 sender_ip[4];
  __u8 target_mac[6];
  __u8 target_ip[4];
} __attribute__((packed));

struct ipv4_packet {
  __u8 version_and_words;
  __u8 tos;
  __be16 total_bytes;
  __be16 id;
  __be16 flags_and_fragment;
  __u8 ttl;
  __u8 protocol;
  __be16 checksum;
  __be32 source;
  __be32 destination;
} __attribute__((packed));

struct neighbor_message {
  __u8 type;
  __u8 code;
  __be16 checksum;
  __be32 flags;
  __u8 target[16];
} __attribute__((packed));

struct fragment_header {
  __u8 next_header;
  __u8 reserved;
  __be16 offset_and_flags;
  __be32 id;
};

static __always_inline int ours_in_arp(void *l3, void *end) {
  struct arp_packet *arp = l3;
  struct address_key key;
  __be32 target;
  if ((void *)(arp + 1) > end) return 0;
  if (arp->protocol_type != bpf_htons(ETH_P_IP) || arp->protocol_bytes != 4 || arp->hardware_bytes != 6) return 0;
  __builtin_memcpy(&target, arp->target_ip, 4);
  map_v4(key.bytes, target);
  return is_ours(&key);
}

static __always_inline int ours_in_ipv4(void *l3, void *end) {
  struct ipv4_packet *ip = l3;
  struct address_key key;
  struct source_key source = {};
  __u32 header_bytes;
  if ((void *)(ip + 1) > end) return 0;
  map_v4(key.bytes, ip->destination);
  if (is_ours(&key)) return 1;
  header_bytes = (ip->version_and_words & 0x0f) * 4;
  if (header_bytes < sizeof *ip) return 0;
  map_v4(source.address, ip->source);
  source.protocol = ip->protocol;
  return is_reply(&source, &key, l3 + header_bytes, end, (ip->flags_and_fragment & bpf_htons(0x1fff)) == 0);
}

static __always_inline int ours_in_ipv6(void *l3, void *end) {
  struct ipv6hdr *ip = l3;
  struct address_key key;
  struct source_key source = {};
  if ((void *)(ip + 1) > end) return 0;
  __builtin_memcpy(key.bytes, &ip->daddr, 16);
  if (is_ours(&key)) return 1;
  if (ip->nexthdr == IPPROTO_ICMPV6) {
    struct neighbor_message *message = (void *)(ip + 1);
    // A solicitation goes to a multicast group; whom it asks for stands inside.
    if ((void *)(message + 1) > end || message->type != 135) return 0;
    __builtin_memcpy(key.bytes, message->target, 16);
    return is_ours(&key);
  }
  __builtin_memcpy(source.address, &ip->saddr, 16);
  source.protocol = ip->nexthdr;
  if (ip->nexthdr == IPPROTO_FRAGMENT) {
    struct fragment_header *fragment = (void *)(ip + 1);
    if ((void *)(fragment + 1) > end) return 0;
    source.protocol = fragment->next_header;
    return is_reply(&source, &key, fragment + 1, end, (fragment->offset_and_flags & bpf_htons(0xfff8)) == 0);
  }
  return is_reply(&source, &key, ip + 1, end, 1);
}

struct vlan_tag {
  __be16 control;
  __be16 type;  // of what is behind it
};

// What an Ethernet frame carries, and of which type it is; behind a VLAN tag when it has one. The balancer knows which
// VLANs are its own; a second tag is of a type that nobody here looks for. 0: it carries nothing.
static __always_inline void *network_of(void *data, void *end, __be16 *type) {
  struct ethhdr *ethernet = data;
  struct vlan_tag *tag = (void *)(ethernet + 1);
  if ((void *)tag > end) return 0;
  *type = ethernet->h_proto;
  if (*type != bpf_htons(ETH_P_8021Q)) return tag;
  if ((void *)(tag + 1) > end) return 0;
  *type = tag->type;
  return tag + 1;
}

// `data` to `end` is the frame.
static __always_inline int is_frame_ours(void *data, void *end) {
  __be16 type;
  void *l3 = network_of(data, end, &type);
  if (!l3) return 0;
  switch (type) {
    case bpf_htons(ETH_P_IP): return ours_in_ipv4(l3, end);
    case bpf_htons(ETH_P_IPV6): return ours_in_ipv6(l3, end);
    case bpf_htons(ETH_P_ARP): return ours_in_arp(l3, end);
  }
  return 0;
}
