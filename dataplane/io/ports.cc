#include "dataplane/io/ports.h"

#include <fmt/core.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>

#include "dataplane/base/log.h"
#include "dataplane/io/eal.h"
#include "dataplane/io/link_watch.h"

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

bool is_link_up(const Port& port) {
  rte_eth_link link{};
  if (rte_eth_link_get_nowait(port.ethdev, &link) != 0 || link.link_status != RTE_ETH_LINK_UP) return false;
  // Drivers on an interface of the kernel's say "up" whatever becomes of its cable.
  return port.interface.empty() || is_running(port.interface);
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

// The table leads to every queue in turn, so that ports with tables of other sizes hash alike.
Result<std::vector<std::uint16_t>> set_rss_table(std::uint16_t ethdev, std::uint16_t table_size, std::uint16_t queue_count) {
  const std::size_t group_count = (table_size + std::size_t{RTE_ETH_RETA_GROUP_SIZE} - 1) / RTE_ETH_RETA_GROUP_SIZE;
  std::vector<rte_eth_rss_reta_entry64> groups(group_count);
  const auto ask_for_all = [&] {
    for (std::size_t i = 0; i < group_count; ++i) {
      const std::size_t left = table_size - i * RTE_ETH_RETA_GROUP_SIZE;
      groups[i].mask = left >= RTE_ETH_RETA_GROUP_SIZE ? UINT64_MAX : (1ull << left) - 1;
    }
  };
  ask_for_all();
  for (std::size_t i = 0; i < table_size; ++i) {
    groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = static_cast<std::uint16_t>(i % queue_count);
  }
  rte_eth_dev_rss_reta_update(ethdev, groups.data(), table_size);  // whether it was taken, one sees when reading
  groups.assign(group_count, {});
  ask_for_all();
  if (const int rc = rte_eth_dev_rss_reta_query(ethdev, groups.data(), table_size); rc != 0) {
    return fail(fmt::format("the driver does not tell its table of queues: {}", reason(rc)));
  }
  std::vector<std::uint16_t> table;
  for (std::size_t i = 0; i < table_size; ++i) {
    table.push_back(groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE]);
  }
  return table;
}

// What a profile says of a device that cannot be asked.
RssFacts declared_rss(const Snapshot& tables, const PortRow& row) {
  RssFacts rss;
  const std::string_view digits = tables.name(row.rss_key);
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    rss.key.push_back(static_cast<std::uint8_t>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  for (std::uint16_t i = 0; i < row.rss_table_size; ++i) rss.queue_of_bucket.push_back(i % row.queue_count);
  rss.hash_fields = row.rss_hash_fields;
  rss.is_declared = true;
  return rss;
}

// What RSS of a started port does. The device is asked, for a driver may know better than what it was told.
Result<RssFacts> read_rss(const Snapshot& tables, const PortRow& row, std::uint16_t ethdev, const rte_eth_dev_info& info) {
  if (row.rss_key.bytes != 0) return declared_rss(tables, row);
  if (row.rss_hash_fields == 0) return fail(fmt::format("profile {} declares no hash fields", tables.name(row.profile)));
  RssFacts rss;
  rss.key.resize(std::max<std::size_t>(info.hash_key_size, toeplitz_key_bytes_min));
  rte_eth_rss_conf conf{};
  conf.rss_key = rss.key.data();
  conf.rss_key_len = static_cast<std::uint8_t>(rss.key.size());
  if (const int rc = rte_eth_dev_rss_hash_conf_get(ethdev, &conf); rc != 0) {
    return fail(fmt::format("the driver does not tell its hash key: {}", reason(rc)));
  }
  rss.hash_fields = conf.rss_hf;
  if (info.reta_size == 0) return fail("the driver has no table of queues");
  auto table = set_rss_table(ethdev, info.reta_size, row.queue_count);
  if (!table) return tl::unexpected(table.error());
  rss.queue_of_bucket = std::move(*table);
  return rss;
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
    if (row.is_sub_interface()) continue;
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
      jumbo_pool_(std::exchange(other.jumbo_pool_, nullptr)),
      replies_(std::move(other.replies_)),
      has_exception_port_(std::exchange(other.has_exception_port_, false)),
      exception_ethdev_(other.exception_ethdev_) {
  other.ports_.clear();
}

Ports::~Ports() {
  for (Port& port : ports_) {
    port.rules.reset();
    close_ethdev(port.ethdev);
    if (port.eal_name.starts_with("net_")) rte_eal_hotplug_remove("vdev", port.eal_name.c_str());
  }
  if (has_exception_port_) {
    close_ethdev(exception_ethdev_);
    rte_eal_hotplug_remove("vdev", exception_device);
  }
  if (pool_ != nullptr) rte_mempool_free(pool_);
  if (jumbo_pool_ != nullptr) rte_mempool_free(jumbo_pool_);
}

Result<Ports> Ports::open(const Snapshot& tables, const std::string& bpf_dir) {
  Ports ports;
  take_dpdk_complaint();
  const BufferPlans plans = buffers_for(tables);
  for (const auto& [plan, name, pool] : {std::tuple(plans.usual, "packets", &ports.pool_), std::tuple(plans.jumbo, "jumbo", &ports.jumbo_pool_)}) {
    if (plan.count == 0) continue;
    const auto room = static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + plan.frame_bytes);
    *pool = rte_pktmbuf_pool_create(name, plan.count, 256, 0, room, SOCKET_ID_ANY);
    if (*pool == nullptr) {
      return fail(fmt::format("packet buffers: {} of {} bytes do not fit in the free hugepages: {}", plan.count, room, reason(0)));
    }
  }
  auto host = HostAddresses::open();
  if (!host) return tl::unexpected(host.error());
  ports.host_.emplace(std::move(*host));
  ports.ports_.reserve(tables.ports().size());
  for (const PortRow& row : tables.ports()) {
    if (row.is_sub_interface()) continue;
    if (auto opened = ports.open_port(tables, row, bpf_dir); !opened) {
      return fail(fmt::format("port {}: {}", tables.name(row.name), opened.error().message));
    }
  }
  if (auto served = ports.serve_addresses(tables); !served) return tl::unexpected(served.error());
  ports.choose_steering(tables);
  return ports;
}

void Ports::choose_steering(const Snapshot& tables) {
  const std::uint32_t worker_count = tables.node().worker_count;
  std::vector<SteeringCandidate> candidates;
  for (const Port& port : ports_) {
    candidates.push_back({port.name, port.profile, port.driver, port.ways, port.queue_count, port.rss});
  }
  SteeringPlan plan = plan_steering(candidates, worker_count);
  for (std::size_t slot = 0; slot < ports_.size(); ++slot) {
    Port& port = ports_[slot];
    port.steering = plan.choices[slot].way;
    port.steering_reason = plan.choices[slot].reason;
    if (worker_count == 1) continue;
    if (port.steering == Steering::flow_rules) {
      port.rules.emplace(rte_flow_taker(port.ethdev));
      set_rules(port, tables);
    }
    log_info("port {}: driver {}, profile {}, {} queues; steering of replies: {}: {}", port.name, port.driver, port.profile,
             port.queue_count, name_of(port.steering), port.steering_reason);
  }
  replies_ = plan.hash ? std::make_shared<const ReplyOwner>(worker_count, std::move(*plan.hash))
                       : std::make_shared<const ReplyOwner>(worker_count);
}

// What the port's rules are is what it takes of them; without, its replies cross a ring.
void Ports::set_rules(Port& port, const Snapshot& tables) {
  const std::vector<FlowRule> wanted = flow_rules_for(tables, tables.node().worker_count);
  const std::string before = port.rules->count() == 0 && !port.steering_reason.empty() ? port.steering_reason + "; " : std::string();
  const auto set = port.rules->update(wanted);
  if (set) {
    port.steering_reason = fmt::format("{} rules are set", wanted.size());
    return;
  }
  port.rules.reset();
  port.steering = Steering::handoff;
  port.steering_reason = fmt::format("{}{}: {}", before, name_of(Steering::flow_rules), set.error().message);
  log_warning("port {}: no rules steer its replies, they cross a ring: {}", port.name, set.error().message);
}

void Ports::observe_replies(std::size_t slot, std::uint64_t arrived, std::uint64_t handed) {
  Port& port = ports_[slot];
  port.first_replies = arrived;
  port.first_replies_handed = handed;
  if (port.steering != Steering::snat_port_hash && port.steering != Steering::flow_rules) return;
  if (!port.proof.observe(arrived, handed)) return;
  if (port.proof.state() == SteeringProof::State::kept) {
    log_info("port {}: steering by {} is kept: {} first replies came to the queue of their flow, {} to another", port.name,
             name_of(port.steering), arrived, handed);
    return;
  }
  const std::string_view promised = name_of(port.steering);
  port.rules.reset();
  port.steering = Steering::handoff;
  port.steering_reason = fmt::format("{} did not keep what it promises: {} of {} first replies came to another queue than that of "
                                     "their flow; {}",
                                     promised, handed, arrived + handed, port.steering_reason);
  log_warning("port {}: steering: {}; replies cross a ring from now on", port.name, port.steering_reason);
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
  port.interface = *interface;
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
  std::vector<std::uint8_t> rss_key;  // must live until the device is configured
  conf.rxmode.mtu = std::clamp<std::uint32_t>(row.mtu, info.min_mtu, info.max_mtu);
  if (row.mtu > info.max_mtu) {
    return fail(fmt::format("MTU {} is asked for, {} takes at most {}", row.mtu, port.device, info.max_mtu));
  }
  if (row.rss_hash_fields != 0 && row.rss_key.bytes == 0 && port.queue_count > 1) {
    const std::uint64_t missing = row.rss_hash_fields & ~info.flow_type_rss_offloads;
    if (missing != 0) {
      return fail(fmt::format("profile {} asks for hash fields {:#x} which {} does not have; it has {:#x}",
                              port.profile, missing, port.device, info.flow_type_rss_offloads));
    }
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = row.rss_hash_fields;
    if (info.hash_key_size >= toeplitz_key_bytes_min) {
      rss_key = own_rss_key(tables.node().choice_secret, info.hash_key_size);
      conf.rx_adv_conf.rss_conf.rss_key = rss_key.data();
      conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
    }
  }
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) != 0 && jumbo_pool_ == nullptr) {
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
    rte_mempool* pool = is_jumbo(row) ? jumbo_pool_ : pool_;
    const int rx = rte_eth_rx_queue_setup(port.ethdev, queue, rx_descriptors, SOCKET_ID_ANY, nullptr, pool);
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
  if (tables.node().worker_count > 1 && port.queue_count > 1) port.rss = read_rss(tables, row, port.ethdev, info);
  port.ways.assign(std::begin(row.steering), std::end(row.steering));
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
    const PortRow& sought = tables.ports()[row];
    const PortRow& port = sought.is_sub_interface() ? tables.ports()[sought.parent] : sought;
    for (std::size_t slot = 0; slot < ports_.size(); ++slot) {
      if (ports_[slot].name == tables.name(port.name) && ports_[slot].device == tables.name(port.device)) {
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
    if (port.rules) set_rules(port, tables);
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
  stats.is_link_up = is_link_up(ports_[slot]);
  return stats;
}

}  // namespace sluice
