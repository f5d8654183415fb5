#include "mgmt/server/host_addresses.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <memory>

namespace sluice {

std::vector<HostAddress> host_addresses() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  std::vector<HostAddress> found;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr) continue;
    IpAddress address;
    if (item->ifa_addr->sa_family == AF_INET) {
      address = IpAddress::v4(
          Be32{reinterpret_cast<const sockaddr_in*>(item->ifa_addr)->sin_addr.s_addr});
    } else if (item->ifa_addr->sa_family == AF_INET6) {
      address = IpAddress::v6(&reinterpret_cast<const sockaddr_in6*>(item->ifa_addr)->sin6_addr);
    } else {
      continue;
    }
    if (!address.is_loopback() && !address.is_link_local())
      found.push_back({address, item->ifa_name});
  }
  return found;
}

}  // namespace sluice
