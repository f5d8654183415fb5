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

SEC("xdp")
int sluice_redirect(struct xdp_md *context) {
  if (!is_frame_ours((void *)(long)context->data, (void *)(long)context->data_end)) return XDP_PASS;
  return bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";
