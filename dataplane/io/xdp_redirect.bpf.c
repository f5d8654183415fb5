// SPDX-License-Identifier: Apache-2.0
// The XDP program of our AF_XDP ports: it parts the traffic of an interface between the balancer and the kernel of the
// host. What is ours (ours.bpf.h) goes to the AF_XDP socket of the queue, all else stays with the kernel.
//
// When no socket takes a packet of ours it is dropped, so that a dead balancer leaves silence behind: the program
// outlives the process, and no kernel answers for its addresses.
// The AF_XDP driver loads this file and looks for `xsks_map`; the process finds it attached (xdp_program.h).
#include "ours.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} xsks_map SEC(".maps");

// Sources that get nothing from us.
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 131072);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct prefix_key);
  __type(value, __u8);
} sluice_blocked SEC(".maps");

// How many packets of theirs were dropped.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} sluice_drops SEC(".maps");

static __always_inline int is_source_blocked(void *data, void *end) {
  __be16 type;
  void *l3 = network_of(data, end, &type);
  struct prefix_key key = {.bits = 128};
  if (!l3) return 0;
  if (type == bpf_htons(ETH_P_IP)) {
    struct ipv4_packet *ip = l3;
    if ((void *)(ip + 1) > end) return 0;
    map_v4(key.bytes, ip->source);
  } else if (type == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr *ip = l3;
    if ((void *)(ip + 1) > end) return 0;
    __builtin_memcpy(key.bytes, &ip->saddr, 16);
  } else {
    return 0;
  }
  return bpf_map_lookup_elem(&sluice_blocked, &key) != 0;
}

SEC("xdp")
int sluice_redirect(struct xdp_md *context) {
  void *data = (void *)(long)context->data;
  void *end = (void *)(long)context->data_end;
  if (!is_frame_ours(data, end)) return XDP_PASS;
  if (is_source_blocked(data, end)) {
    __u32 zero = 0;
    __u64 *drops = bpf_map_lookup_elem(&sluice_drops, &zero);
    if (drops) ++*drops;
    return XDP_DROP;
  }
  return bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";
