// SPDX-License-Identifier: Apache-2.0
// The guard before the kernel: a filter at the ingress of our kernel interfaces that drops what is ours (ours.bpf.h), so
// that the kernel never sees it and cannot answer it.
//
// On an AF_XDP port it matters while the XDP program is not attached: between the end of one process and the start of
// the next. On an AF_PACKET port it matters always, for there the kernel sees every packet beside us. (IPv6 answers
// "no route" even to what it would not forward.) AF_PACKET sockets are served before this filter.
// It outlives the process, with its maps; the next start replaces it in one step.
#include <linux/pkt_cls.h>

#include "ours.bpf.h"

#define HEADERS_BYTES 96  // Ethernet, IPv6 or IPv4 with options, the ports; or a neighbour solicitation

SEC("tc")
int sluice_guard(struct __sk_buff *packet) {
  // What is ours must be seen also when the headers do not lie in the first buffer.
  if (packet->data_end - packet->data < HEADERS_BYTES) {
    bpf_skb_pull_data(packet, packet->len < HEADERS_BYTES ? packet->len : HEADERS_BYTES);
  }
  return is_frame_ours((void *)(long)packet->data, (void *)(long)packet->data_end) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Apache-2.0";
