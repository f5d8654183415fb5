#include "perf/common/port.h"

#include <fmt/core.h>
#include <rte_bus_pci.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <cstring>

namespace sluice::perf {
namespace {

std::string reason_of(int code) {
  const int number = code < 0 && code > -1'000 ? -code : rte_errno;
  return number == 0 ? "the driver does not say why" : std::strerror(number);
}

}  // namespace

bool is_pci_address(const std::string& device) {
  const std::string name = device.substr(0, device.find(','));
  rte_pci_addr address;
  return rte_pci_addr_parse(name.c_str(), &address) == 0;
}

Result<std::uint16_t> open_port(const std::string& device, rte_mempool* pool,
                                const PortNeeds& needs) {
  const std::size_t comma = device.find(',');
  const std::string name = device.substr(0, comma);
  const std::string arguments = comma == std::string::npos ? "" : device.substr(comma + 1);
  const bool is_pci = is_pci_address(device);
  if (!is_pci) {
    const int code = rte_eal_hotplug_add("vdev", name.c_str(), arguments.c_str());
    if (code != 0) {
      return fail(fmt::format("port {}: DPDK does not open it: {}", device, reason_of(code)));
    }
  }
  std::uint16_t port = 0;
  if (rte_eth_dev_get_port_by_name(name.c_str(), &port) != 0) {
    return fail(fmt::format("port {}: there is no such device, or no driver has taken it", device));
  }
  rte_eth_dev_info info{};
  if (const int code = rte_eth_dev_info_get(port, &info); code != 0) {
    return fail(fmt::format("port {}: {}", device, reason_of(code)));
  }
  rte_eth_conf conf{};
  constexpr std::uint16_t ordinary_frame = 1'514;
  if (needs.frame_bytes_max > ordinary_frame) {
    const auto mtu = static_cast<std::uint16_t>(needs.frame_bytes_max - 14);
    if (info.max_mtu != 0 && mtu > info.max_mtu) {
      return fail(fmt::format("port {}: takes frames of at most {} bytes, {} are wanted", device,
                              info.max_mtu + 18, needs.frame_bytes_max + 4));
    }
    if (info.max_mtu != 0 && info.max_mtu != UINT16_MAX) conf.rxmode.mtu = mtu;
  }
  std::uint16_t rx_descriptors = needs.descriptors, tx_descriptors = needs.descriptors;
  int code = rte_eth_dev_configure(port, 1, 1, &conf);
  if (code == 0) code = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx_descriptors, &tx_descriptors);
  if (code == 0)
    code = rte_eth_rx_queue_setup(port, 0, rx_descriptors, SOCKET_ID_ANY, nullptr, pool);
  if (code == 0) code = rte_eth_tx_queue_setup(port, 0, tx_descriptors, SOCKET_ID_ANY, nullptr);
  if (code == 0) code = rte_eth_dev_start(port);
  if (code != 0) {
    rte_eth_dev_close(port);
    return fail(fmt::format("port {}: cannot be started: {}", device, reason_of(code)));
  }
  rte_eth_promiscuous_enable(port);  // virtual ports mostly do not know it, and show every frame
  return port;
}

void close_port(std::uint16_t port) {
  rte_eth_dev_stop(port);
  rte_eth_dev_close(port);
}

MacAddress mac_of_port(std::uint16_t port) {
  rte_ether_addr address{};
  MacAddress mac{};
  if (rte_eth_macaddr_get(port, &address) == 0) std::memcpy(mac.bytes.data(), &address, 6);
  return mac;
}

bool is_link_up(std::uint16_t port) {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace sluice::perf
