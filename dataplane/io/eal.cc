#include "dataplane/io/eal.h"

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <stdio.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <sstream>

#include "dataplane/base/log.h"
#include "dataplane/net/headers.h"
#include "dataplane/pipeline/neighbors.h"

namespace sluice {
namespace {

constexpr std::uint32_t buffer_overhead_bytes = 128 + 128 + 64;              // headroom, struct, pool header: see ports.cc
constexpr std::uint32_t page_frame_bytes = 4'096 - buffer_overhead_bytes;  // a buffer that fits a page

// DPDK writes its log here. A line is kept as the reason of the failure that follows; nothing is printed,
// because whoever sees the failure says it in one sentence.
struct DpdkLog {
  std::mutex mutex;  // drivers may log from any thread
  std::string text;
};

ssize_t write_dpdk_log(void* cookie, const char* bytes, std::size_t count) {
  auto* log = static_cast<DpdkLog*>(cookie);
  const std::lock_guard<std::mutex> lock(log->mutex);
  log->text.append(bytes, count);
  if (log->text.size() > 2'000) log->text.erase(0, log->text.size() - 2'000);
  return static_cast<ssize_t>(count);
}

// rte_log has one stream a process, so this is one too: the only object of the dataplane that is not passed in.
DpdkLog& dpdk_log() {
  static DpdkLog log;
  return log;
}

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::string list_of(std::span<const unsigned> cpus) { return fmt::format("{}", fmt::join(cpus, ",")); }

std::vector<unsigned> workers_of(const NodeRow& node) {
  return {node.worker_cpus, node.worker_cpus + node.worker_count};
}

}  // namespace

bool is_jumbo(const PortRow& port) { return frame_room(port.mtu) > page_frame_bytes; }

BufferPlans buffers_for(const Snapshot& tables) {
  const std::uint32_t of_workers = tables.node().worker_count * (hold_max + 2'048);  // held, in rings, in hand, pool caches
  BufferPlans plans{{of_workers, frame_room(0)}, {0, 0}};
  for (const PortRow& port : tables.ports()) {
    if (port.is_sub_interface()) continue;
    // AF_XDP fills three rings of its own size, whatever we ask for: fill, receive, and transmit with its completions.
    constexpr std::uint32_t af_xdp_ring = 2'048;
    BufferPlan& plan = is_jumbo(port) ? plans.jumbo : plans.usual;
    if (plan.count == 0) plan.count = of_workers;
    plan.count += port.queue_count * (2u * std::max<std::uint32_t>(port.rx_descriptors, af_xdp_ring) +
                                      std::max<std::uint32_t>(port.tx_descriptors, af_xdp_ring));
    plan.frame_bytes = std::max(plan.frame_bytes, frame_room(port.mtu));
  }
  plans.usual.count = std::max<std::uint32_t>(plans.usual.count + 1'024, 8'192);  // 1,024 for the exception port
  return plans;
}

std::uint64_t hugepage_bytes_for(const Snapshot& tables) {
  const auto bytes_of = [](const BufferPlan& plan) { return std::uint64_t{plan.count} * (plan.frame_bytes + buffer_overhead_bytes); };
  const BufferPlans plans = buffers_for(tables);
  return bytes_of(plans.usual) + bytes_of(plans.jumbo) + (24ull << 20);
}

HugepageState parse_meminfo(const std::string& text) {
  HugepageState state;
  std::istringstream lines(text);
  std::string word;
  while (lines >> word) {
    if (word == "HugePages_Free:") lines >> state.free_pages;
    if (word == "Hugepagesize:") {
      lines >> state.page_bytes;
      state.page_bytes *= 1'024;
    }
  }
  return state;
}

Result<void> check_hugepages(const HugepageState& state, std::uint64_t bytes_needed) {
  if (state.page_bytes == 0) return fail("hugepages: this kernel has none; one built with CONFIG_HUGETLBFS is needed");
  const std::uint64_t pages_needed = (bytes_needed + state.page_bytes - 1) / state.page_bytes;
  if (state.free_pages >= pages_needed) return {};
  return fail(fmt::format("hugepages: {} of {} KiB are needed and {} are free; reserve them with "
                          "`echo $(( $(cat /proc/sys/vm/nr_hugepages) + {} )) > /proc/sys/vm/nr_hugepages`",
                          pages_needed, state.page_bytes / 1'024, state.free_pages, pages_needed - state.free_pages));
}

Result<void> check_cpus(const NodeRow& node, std::span<const unsigned> cpus) {
  for (const unsigned cpu : workers_of(node)) {
    if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) {
      return fail(fmt::format("node: workers: CPU {} does not exist here or this process may not use it; allowed are {}",
                              cpu, list_of(cpus)));
    }
  }
  return {};
}

std::vector<std::string> eal_arguments(const Snapshot& tables, std::span<const unsigned> cpus) {
  const NodeRow& node = tables.node();
  std::string lcores = fmt::format("0@({})", list_of(cpus));
  for (std::uint32_t worker = 0; worker < node.worker_count; ++worker) {
    lcores += fmt::format(",{}@{}", lcore_of_worker(worker), node.worker_cpus[worker]);
  }
  // In memory: no files in /dev/hugepages or /run/dpdk that a killed process would leave behind, and any
  // number of instances side by side.
  std::vector<std::string> arguments = {"sluice-dataplane", "--in-memory",         "--no-telemetry", "--iova-mode=va",
                                        "--main-lcore=0",   "--lcores=" + lcores, "--log-level=*:error"};
  // PCI devices are probed by EAL, and only those that the configuration names. Virtual devices come later, one
  // by one, so that each can be refused by name.
  bool has_pci = false;
  for (const PortRow& port : tables.ports()) {
    const std::string_view option = tables.name(port.eal_option);
    if (!option.starts_with("--allow=")) continue;
    arguments.emplace_back(option);
    has_pci = true;
  }
  if (has_pci) {
    std::erase(arguments, "--iova-mode=va");  // without an IOMMU a device needs physical addresses
  } else {
    arguments.emplace_back("--no-pci");
  }
  return arguments;
}

Result<void> start_eal(const Snapshot& tables) {
  static std::vector<unsigned> running_workers;
  const std::vector<unsigned> workers = workers_of(tables.node());
  if (!running_workers.empty()) {
    if (running_workers == workers) return {};
    return fail(fmt::format("node: workers: this process was started with CPUs {}; restart sluice-dataplane",
                            list_of(running_workers)));
  }
  static const std::vector<unsigned> cpus = allowed_cpus();
  if (auto checked = check_cpus(tables.node(), cpus); !checked) return checked;
  std::ifstream meminfo("/proc/meminfo");
  std::stringstream text;
  text << meminfo.rdbuf();
  if (auto checked = check_hugepages(parse_meminfo(text.str()), hugepage_bytes_for(tables)); !checked) return checked;

  cookie_io_functions_t functions{};
  functions.write = write_dpdk_log;
  FILE* stream = fopencookie(&dpdk_log(), "w", functions);
  setvbuf(stream, nullptr, _IOLBF, 1'024);
  rte_openlog_stream(stream);

  std::vector<std::string> arguments = eal_arguments(tables, cpus);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  if (rte_eal_init(static_cast<int>(arguments.size()), argv.data()) < 0) {
    return fail(fmt::format("DPDK cannot start: {} ({})", rte_strerror(rte_errno), take_dpdk_complaint()));
  }
  running_workers = workers;
  return {};
}

std::string take_dpdk_complaint() {
  DpdkLog& log = dpdk_log();
  const std::lock_guard<std::mutex> lock(log.mutex);
  std::string text = std::move(log.text);
  log.text.clear();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::string one_line;
  for (const char c : text) {
    if (c == '\n') {
      one_line += "; ";
    } else {
      one_line += c;
    }
  }
  return one_line;
}

}  // namespace sluice
