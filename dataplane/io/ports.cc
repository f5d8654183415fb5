#include "dataplane/io/ports.h"

#include <fmt/format.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "dataplane/base/log.h"
#include "dataplane/io/eal.h"

namespace sluice {
namespace {

constexpr char exception_device[] = "net_tap_exception";

// The kernel's interface behind a port; empty for hardware and for what lives in memory or files. It must exist in this
// network namespace, one process may have it, and its kernel must be kept from answering.
Result<std::string> kernel_interface_of(std::string_view driver, const EalOption& option) {
  if (driver != "net_af_xdp" && driver != "net_af_packet" && driver != "net_pcap") return std::string();
  const std::string interface = option.argument("iface");
  if (interface.empty() && driver == "net_pcap") return interface;  // capture files
  if (interface.empty()) return fail("its driver wants an interface and the profile gives no iface=");
  if (if_nametoindex(interface.c_str()) == 0) {
    return fail(fmt::format("interface {} does not exist in this network namespace", interface));
  }
  return interface;
}

std::string reason(int rc) {
  const std::string complaint = take_dpdk_complaint();
  std::string text = rte_strerror(rc < 0 ? -rc : rte_errno);
  if (!complaint.empty()) text += fmt::format(" ({})", complaint);
  return text;
}

void close_ethdev(std::uint16_t ethdev) {
  rte_eth_dev_stop(ethdev);
  rte_eth_dev_close(ethdev);
}

std::vector<std::string> offload_names(std::uint64_t rx, std::uint64_t tx) {
  std::vector<std::string> names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((rx >> bit & 1) != 0) names.push_back(fmt::format("rx_{}", rte_eth_dev_rx_offload_name(1ull << bit)));
    if ((tx >> bit & 1) != 0) names.push_back(fmt::format("tx_{}", rte_eth_dev_tx_offload_name(1ull << bit)));
  }
  for (std::string& name : names) {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  }
  return names;
}

// How packets of a flow come together on one lcore. Only what is known to hold is claimed; the fallback is always
// right and costs a ring.
void choose_steering(Port& port, const PortRow& row, const NodeRow& node) {
  if (node.worker_count == 1) {
    port.steering = "none needed";
    port.steering_reason = "one worker sees every packet";
  } else {
    port.steering = "handoff";
    port.steering_reason =
        port.queue_count == 1
            ? "one queue, so one worker receives; packets of other workers' flows cross a ring"
            : fmt::format("{} is not known to bring replies to the queue of their flow; they cross a ring", port.driver);
    if (row.steering[0] == Steering::snat_port_hash || row.steering[0] == Steering::flow_rules) {
      port.steering_reason += fmt::format("; profile {} would rather {}, which this version does not do", port.profile,
                                          row.steering[0] == Steering::flow_rules ? "set flow rules"
                                                                                  : "choose SNAT ports by their hash");
    }
  }
}

}  // namespace

std::string EalOption::argument(std::string_view key) const {
  std::string_view rest = arguments;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    if (item.size() > key.size() && item.starts_with(key) && item[key.size()] == '=') {
      return std::string(item.substr(key.size() + 1));
    }
  }
  return {};
}

Result<EalOption> EalOption::parse(std::string_view text, const std::string& xdp_program_path) {
  EalOption option;
  std::string filled(text);
  constexpr std::string_view placeholder = "{xdp_prog}";
  if (const std::size_t at = filled.find(placeholder); at != std::string::npos) {
    filled.replace(at, placeholder.size(), xdp_program_path);
  }
  std::string_view rest = filled;
  if (rest.starts_with("--vdev=")) {
    option.is_virtual = true;
    rest.remove_prefix(7);
  } else if (rest.starts_with("--allow=")) {
    rest.remove_prefix(8);
  } else {
    return fail(fmt::format("'{}' begins neither with --vdev= nor with --allow=", text));
  }
  const std::size_t comma = rest.find(',');
  option.name = rest.substr(0, comma);
  if (comma != std::string_view::npos) option.arguments = rest.substr(comma + 1);
  if (option.name.empty()) return fail(fmt::format("'{}' names no device", text));
  return option;
}

Result<void> check_ports(const Snapshot& tables) {
  for (const PortRow& row : tables.ports()) {
    const auto at_port = [&](const std::string& text) {
      return fail(fmt::format("port {}: {}", tables.name(row.name), text));
    };
    const auto option = EalOption::parse(tables.name(row.eal_option), {});
    if (!option) return at_port(option.error().message);
    const std::string_view driver = tables.name(row.driver);
    if (!option->is_virtual && !std::filesystem::exists("/sys/bus/pci/devices/" + option->name)) {
      return at_port(fmt::format("profile {} (driver {}) wants a PCI device, and this machine has none with address {}; "
                                 "`lspci -D` lists them",
                                 tables.name(row.profile), driver, option->name));
    }
    const auto interface = kernel_interface_of(driver, *option);
    if (!interface) return at_port(interface.error().message);
    if (interface->empty() && row.is_bifurcated != 0) {
      return at_port("its profile shares an interface with the kernel and gives no iface=");
    }
  }
  return {};
}

Ports::Ports(Ports&& other) noexcept
    : ports_(std::move(other.ports_)),
      host_(std::move(other.host_)),
      pool_(std::exchange(other.pool_, nullptr)),
      has_exception_port_(std::exchange(other.has_exception_port_, false)),
      exception_ethdev_(other.exception_ethdev_) {
  other.ports_.clear();
}

Ports::~Ports() {
  for (const Port& port : ports_) {
    close_ethdev(port.ethdev);
    if (port.eal_name.starts_with("net_")) rte_eal_hotplug_remove("vdev", port.eal_name.c_str());
  }
  if (has_exception_port_) {
    close_ethdev(exception_ethdev_);
    rte_eal_hotplug_remove("vdev", exception_device);
  }
  if (pool_ != nullptr) rte_mempool_free(pool_);
}

Result<Ports> Ports::open(const Snapshot& tables, const std::string& bpf_dir) {
  Ports ports;
  take_dpdk_complaint();
  ports.pool_ = rte_pktmbuf_pool_create("packets", buffer_count_for(tables), 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                        SOCKET_ID_ANY);
  if (ports.pool_ == nullptr) {
    return fail(fmt::format("packet buffers: {} do not fit in the free hugepages: {}", buffer_count_for(tables),
                            reason(0)));
  }
  auto host = HostAddresses::open();
  if (!host) return tl::unexpected(host.error());
  ports.host_.emplace(std::move(*host));
  ports.ports_.reserve(tables.ports().size());
  for (const PortRow& row : tables.ports()) {
    if (auto opened = ports.open_port(tables, row, bpf_dir); !opened) {
      return fail(fmt::format("port {}: {}", tables.name(row.name), opened.error().message));
    }
  }
  if (auto served = ports.serve_addresses(tables); !served) return tl::unexpected(served.error());
  return ports;
}

Result<void> Ports::open_port(const Snapshot& tables, const PortRow& row, const std::string& bpf_dir) {
  Port port;
  port.name = tables.name(row.name);
  port.profile = tables.name(row.profile);
  port.driver = tables.name(row.driver);
  port.device = tables.name(row.device);
  port.queue_count = row.queue_count;
  port.mtu = row.mtu;
  port.is_bifurcated = row.is_bifurcated != 0;
  port.is_rss_stable = row.is_rss_stable != 0;
  const auto option = EalOption::parse(tables.name(row.eal_option), bpf_dir + "/xdp_redirect.bpf.o");
  if (!option) return tl::unexpected(option.error());
  port.eal_name = option->name;

  const auto interface = kernel_interface_of(port.driver, *option);
  if (!interface) return tl::unexpected(interface.error());
  if (!interface->empty()) {
    auto claim = InterfaceClaim::take(*interface);
    if (!claim) return tl::unexpected(claim.error());
    port.claim = std::move(*claim);
    auto guard = KernelGuard::attach(*interface, bpf_dir + "/kernel_guard.bpf.o", content_of(tables));
    if (guard) {
      port.guard = std::move(*guard);
    } else {
      log_warning("{}; while the dataplane restarts, this host may answer for our addresses", guard.error().message);
    }
  }

  if (option->is_virtual) {
    if (const int rc = rte_eal_hotplug_add("vdev", option->name.c_str(), option->arguments.c_str()); rc != 0) {
      return fail(fmt::format("driver {} does not take device {}: {}", port.driver, port.device, reason(rc)));
    }
  }
  if (rte_eth_dev_get_port_by_name(option->name.c_str(), &port.ethdev) != 0) {
    return fail(fmt::format("no DPDK driver took {}; is it bound to vfio-pci? {}", option->name, reason(-ENODEV)));
  }
  // From here on the device must be closed on failure.
  struct Closer {
    std::uint16_t ethdev;
    std::string virtual_name;
    bool is_armed = true;
    ~Closer() {
      if (!is_armed) return;
      close_ethdev(ethdev);
      if (!virtual_name.empty()) rte_eal_hotplug_remove("vdev", virtual_name.c_str());
    }
  } closer{port.ethdev, option->is_virtual ? option->name : std::string()};

  rte_eth_dev_info info{};
  if (const int rc = rte_eth_dev_info_get(port.ethdev, &info); rc != 0) {
    return fail(fmt::format("cannot read what the device can do: {}", reason(rc)));
  }
  if (port.driver != info.driver_name) {
    return fail(fmt::format("profile {} is for driver {}, but {} is driven by {}; choose the profile of that driver",
                            port.profile, port.driver, port.device, info.driver_name));
  }
  if (port.queue_count > info.max_rx_queues || port.queue_count > info.max_tx_queues) {
    return fail(fmt::format("{} queues are asked for, {} has {}; lower `queues`", port.queue_count, port.device,
                            std::min(info.max_rx_queues, info.max_tx_queues)));
  }

  rte_eth_conf conf{};
  conf.rxmode.mtu = std::clamp<std::uint32_t>(row.mtu, info.min_mtu, info.max_mtu);
  if (row.mtu > info.max_mtu) {
    return fail(fmt::format("MTU {} is asked for, {} takes at most {}", row.mtu, port.device, info.max_mtu));
  }
  if (row.rss_hash_fields != 0 && port.queue_count > 1) {
    const std::uint64_t missing = row.rss_hash_fields & ~info.flow_type_rss_offloads;
    if (missing != 0) {
      return fail(fmt::format("profile {} asks for hash fields {:#x} which {} does not have; it has {:#x}",
                              port.profile, missing, port.device, info.flow_type_rss_offloads));
    }
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = row.rss_hash_fields;
  }
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) != 0) {
    conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;  // one pool, no references: always true here
  }
  port.offloads = offload_names(conf.rxmode.offloads, conf.txmode.offloads);
  if (const int rc = rte_eth_dev_configure(port.ethdev, port.queue_count, port.queue_count, &conf); rc != 0) {
    return fail(fmt::format("{} cannot be configured: {}", port.device, reason(rc)));
  }
  std::uint16_t rx_descriptors = row.rx_descriptors != 0 ? row.rx_descriptors : 1'024;
  std::uint16_t tx_descriptors = row.tx_descriptors != 0 ? row.tx_descriptors : 1'024;
  if (rte_eth_dev_adjust_nb_rx_tx_desc(port.ethdev, &rx_descriptors, &tx_descriptors) != 0) {
    return fail(fmt::format("{} does not take {} and {} descriptors: {}", port.device, rx_descriptors, tx_descriptors,
                            reason(0)));
  }
  // As late as can be: from here until the driver attaches its own, our packets go toward the kernel and are lost.
  if (port.is_bifurcated) {
    if (auto detached = detach_stale_xdp_program(*interface); !detached) return detached;
  }
  for (std::uint16_t queue = 0; queue < port.queue_count; ++queue) {
    const int rx = rte_eth_rx_queue_setup(port.ethdev, queue, rx_descriptors, SOCKET_ID_ANY, nullptr, pool_);
    if (rx != 0) return fail(fmt::format("{} receive queue {}: {}", port.device, queue, reason(rx)));
    const int tx = rte_eth_tx_queue_setup(port.ethdev, queue, tx_descriptors, SOCKET_ID_ANY, nullptr);
    if (tx != 0) return fail(fmt::format("{} transmit queue {}: {}", port.device, queue, reason(tx)));
  }
  if (const int rc = rte_eth_dev_start(port.ethdev); rc != 0) {
    return fail(fmt::format("{} does not start: {}", port.device, reason(rc)));
  }
  // Neighbour solicitations come by multicast. A shared interface is left as its host set it: the XDP program sees
  // what the interface takes, and its hardware address is ours.
  if (!port.is_bifurcated) rte_eth_allmulticast_enable(port.ethdev);

  rte_ether_addr mac{};
  rte_eth_macaddr_get(port.ethdev, &mac);
  std::memcpy(port.mac.bytes.data(), mac.addr_bytes, sizeof mac.addr_bytes);
  choose_steering(port, row, tables.node());
  if (port.is_bifurcated) {
    auto program = XdpProgram::find(*interface);
    if (!program) return tl::unexpected(program.error());
    port.xdp = std::move(*program);
  }
  closer.is_armed = false;
  ports_.push_back(std::move(port));
  take_dpdk_complaint();
  return {};
}

Result<std::uint16_t> Ports::open_exception_port(const std::string& interface, std::uint16_t mtu) {
  const std::string arguments = fmt::format("iface={}", interface);
  if (const int rc = rte_eal_hotplug_add("vdev", exception_device, arguments.c_str()); rc != 0) {
    return fail(fmt::format("exception_port: the TAP {} cannot be made: {}; is /dev/net/tun there, and the name free?",
                            interface, reason(rc)));
  }
  if (rte_eth_dev_get_port_by_name(exception_device, &exception_ethdev_) != 0) {
    return fail(fmt::format("exception_port: no driver for the TAP {}: {}", interface, reason(-ENODEV)));
  }
  rte_eth_conf conf{};
  int rc = rte_eth_dev_configure(exception_ethdev_, 1, 1, &conf);
  if (rc == 0) rc = rte_eth_rx_queue_setup(exception_ethdev_, 0, 256, SOCKET_ID_ANY, nullptr, pool_);
  if (rc == 0) rc = rte_eth_tx_queue_setup(exception_ethdev_, 0, 256, SOCKET_ID_ANY, nullptr);
  if (rc == 0) rc = rte_eth_dev_start(exception_ethdev_);
  if (rc != 0) {
    close_ethdev(exception_ethdev_);
    return fail(fmt::format("exception_port: the TAP {} does not start: {}", interface, reason(rc)));
  }
  rte_eth_dev_set_mtu(exception_ethdev_, mtu);
  has_exception_port_ = true;
  take_dpdk_complaint();
  return exception_ethdev_;
}

std::array<std::optional<std::uint16_t>, ports_max> Ports::slot_of_row(const Snapshot& tables) const {
  std::array<std::optional<std::uint16_t>, ports_max> slots{};
  for (std::size_t row = 0; row < tables.ports().size(); ++row) {
    for (std::size_t slot = 0; slot < ports_.size(); ++slot) {
      if (ports_[slot].name == tables.name(tables.ports()[row].name) &&
          ports_[slot].device == tables.name(tables.ports()[row].device)) {
        slots[row] = static_cast<std::uint16_t>(slot);
      }
    }
  }
  return slots;
}

Result<void> Ports::serve_addresses(const Snapshot& tables) {
  const XdpContent content = content_of(tables);
  for (Port& port : ports_) {
    if (port.guard) {
      if (auto updated = port.guard->update(content); !updated) return updated;
    }
    if (port.xdp) {
      if (auto updated = port.xdp->update(content); !updated) return updated;
    }
  }
  return {};
}

XdpContent Ports::content_of(const Snapshot& tables) const {
  XdpContent content = xdp_content_of(tables);
  content.host = host_->read();
  return content;
}

std::uint64_t Ports::blocked_packets() const {
  std::uint64_t count = 0;
  for (const Port& port : ports_) count += port.xdp ? port.xdp->blocked_packets() : 0;
  return count;
}

PortStats Ports::stats(std::size_t slot) const {
  PortStats stats;
  rte_eth_stats raw{};
  if (rte_eth_stats_get(ports_[slot].ethdev, &raw) == 0) {
    stats.rx_packets = raw.ipackets;
    stats.rx_bytes = raw.ibytes;
    stats.tx_packets = raw.opackets;
    stats.tx_bytes = raw.obytes;
    stats.rx_missed = raw.imissed;
    stats.rx_no_buffer = raw.rx_nombuf;
  }
  rte_eth_link link{};
  stats.is_link_up = rte_eth_link_get_nowait(ports_[slot].ethdev, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  return stats;
}

}  // namespace sluice
