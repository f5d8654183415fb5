// A DPDK port with one queue, as the programs here use it.
// Threads: opened and closed on one thread, used on one. Errors: name the port and the step.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/result.h"
#include "dataplane/net/address.h"

struct rte_mempool;

namespace sluice::perf {

struct PortNeeds {
  std::uint16_t descriptors = 512;
  std::uint16_t frame_bytes_max = 1'514;  // without FCS
};

// `device`: a virtual device of DPDK with its arguments ("net_ring0", "net_memif0,role=server"),
// plugged in now, or the address of a PCI device that EAL was allowed to probe.
Result<std::uint16_t> open_port(const std::string& device, rte_mempool* pool,
                                const PortNeeds& needs = {});
void close_port(std::uint16_t port);

bool is_pci_address(const std::string& device);
MacAddress mac_of_port(std::uint16_t port);
bool is_link_up(std::uint16_t port);

}  // namespace sluice::perf
