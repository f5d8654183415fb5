#include "dataplane/io/host_addresses.h"

#include <errno.h>
#include <fmt/core.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>

namespace sluice {

Result<HostAddresses> HostAddresses::open() {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(fmt::format("cannot listen for changes of this host's addresses: {}", strerror(errno)));
  }
  return HostAddresses(std::move(fd));
}

bool HostAddresses::has_changed() {
  bool has_heard = false;
  std::array<char, 8'192> message;
  while (true) {
    const ssize_t bytes = recv(socket_.get(), message.data(), message.size(), 0);
    // Overrun: something was said that we missed, which is a change all the same.
    if (bytes < 0 && errno != ENOBUFS && errno != EINTR) return has_heard;
    has_heard = true;
  }
}

std::vector<IpAddress> HostAddresses::read() const {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owned(list, freeifaddrs);
  std::vector<IpAddress> addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    if (entry->ifa_addr->sa_family == AF_INET) {
      addresses.push_back(IpAddress::v4(Be32{reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr.s_addr}));
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      addresses.push_back(IpAddress::v6(&reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr));
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

}  // namespace sluice
