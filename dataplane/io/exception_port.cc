#include "dataplane/io/exception_port.h"

#include <errno.h>
#include <fmt/core.h>
#include <net/if.h>
#include <string.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "dataplane/base/log.h"
#include "dataplane/io/rtnetlink.h"
#include "dataplane/pipeline/packet.h"

namespace sluice {
namespace {

// Behind it lies the dataplane. Never on a wire: from the block for documentation, and link-local.
const IpAddress gateway_v4 = IpAddress::v4(be32(0xc0000201));                       // 192.0.2.1
IpAddress gateway_v6() { return *IpAddress::parse("fe80::534c:5549"); }

}  // namespace

Result<ExceptionPort> ExceptionPort::open(Ports& ports, const Snapshot& tables, const std::string& interface) {
  const auto failed = [&](const Error& error) {
    return fail(fmt::format("exception_port: interface {}: {}", interface, error.message));
  };
  std::uint16_t mtu = 1'500;
  for (const PortRow& port : tables.ports()) mtu = std::min(mtu, port.mtu);
  const auto ethdev = ports.open_exception_port(interface, mtu);
  if (!ethdev) return tl::unexpected(ethdev.error());

  ExceptionPort port;
  port.interface_ = interface;
  port.ethdev_ = *ethdev;
  port.mtu_ = mtu;
  port.interface_index_ = if_nametoindex(interface.c_str());
  auto netlink = RtNetlink::open();
  if (!netlink) return failed(netlink.error());
  // The kernel is not to speak on its own there: no address of its own making, no neighbour search.
  if (auto set = netlink->set_up_quietly(port.interface_index_, mtu); !set) return failed(set.error());
  auto mac = netlink->mac_of(interface);
  if (!mac) return failed(mac.error());
  port.kernel_mac_ = *mac;
  for (const IpAddress& gateway : {gateway_v4, gateway_v6()}) {
    if (auto added = netlink->add_neighbor(port.interface_index_, gateway, exception_gateway_mac); !added) {
      return failed(added.error());
    }
    if (auto added = netlink->add_default_route(port.interface_index_, gateway, exception_table(interface));
        !added) {
      return failed(added.error());
    }
  }
  if (auto removed = netlink->remove_rules_of(exception_table(interface)); !removed) return failed(removed.error());
  if (auto served = port.serve_addresses(tables); !served) return tl::unexpected(served.error());
  return port;
}

Result<void> ExceptionPort::serve_addresses(const Snapshot& tables) {
  std::vector<IpAddress> wanted;
  for (const AddressRow& row : tables.addresses()) wanted.push_back(row.address);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<IpAddress> added, removed;
  std::set_difference(wanted.begin(), wanted.end(), addresses_.begin(), addresses_.end(), std::back_inserter(added));
  std::set_difference(addresses_.begin(), addresses_.end(), wanted.begin(), wanted.end(), std::back_inserter(removed));
  if (added.empty() && removed.empty()) return {};

  auto netlink = RtNetlink::open();
  if (!netlink) return tl::unexpected(netlink.error());
  const std::uint32_t table = exception_table(interface_);
  for (const IpAddress& address : added) {
    auto done = netlink->add_rule(address, table);
    if (done) done = netlink->add_address(interface_index_, address);
    if (!done) {
      return fail(fmt::format("exception_port: {} cannot be given to {}: {}", address.text(), interface_,
                              done.error().message));
    }
  }
  for (const IpAddress& address : removed) {
    netlink->remove_address(interface_index_, address);
    netlink->remove_rule(address, table);
  }
  addresses_ = std::move(wanted);
  return {};
}

}  // namespace sluice
