// Starts DPDK's environment (EAL) with what the snapshot says, and refuses in our own words what DPDK
// would refuse in its own: missing hugepages, CPUs that do not exist.
//
// Threads: the control thread, which becomes EAL's main lcore and keeps floating over all CPUs: on a small
// box it must not take a worker's. Worker i runs on lcore i + 1.
// EAL can be started once in a process; a second start_eal() must ask for the same workers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

inline unsigned lcore_of_worker(std::uint32_t worker) { return worker + 1; }

// Packet buffers for all ports, queues and what may be held or in flight between lcores.
// Buffers of packets, each of which takes a whole frame. Those of jumbo ports are a pool of their own, because the buffers
// of AF_XDP must fit a page.
struct BufferPlan {
  std::uint32_t count = 0;
  std::uint16_t frame_bytes = 0;  // without headroom
};
struct BufferPlans {
  BufferPlan usual, jumbo;  // jumbo: none when no port wants it
};
BufferPlans buffers_for(const Snapshot& tables);
bool is_jumbo(const PortRow& port);
// What the pool takes of them, and the little that EAL itself wants.
std::uint64_t hugepage_bytes_for(const Snapshot& tables);

struct HugepageState {  // as /proc/meminfo tells it
  std::uint64_t page_bytes = 0;
  std::uint64_t free_pages = 0;
};
HugepageState parse_meminfo(const std::string& text);
// An error says how many are missing and the command that reserves them.
Result<void> check_hugepages(const HugepageState& state, std::uint64_t bytes_needed);

// `cpus`: those this process may run on. An error names the CPU that is not among them.
Result<void> check_cpus(const NodeRow& node, std::span<const unsigned> cpus);

// The argument list, argv[0] included.
std::vector<std::string> eal_arguments(const Snapshot& tables, std::span<const unsigned> cpus);

// All of the above, then rte_eal_init().
Result<void> start_eal(const Snapshot& tables);

// The last lines that DPDK logged at level error: the reason behind its negative return values. Emptied by
// the call.
std::string take_dpdk_complaint();

}  // namespace sluice
