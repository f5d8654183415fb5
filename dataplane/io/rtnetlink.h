// RtNetlink: the few requests to the kernel's routing tables (rtnetlink(7)) that the exception port needs.
// Threads: any, one object each. Errors: the step and the kernel's reason. What exists already is no error
// when added, what is gone is none when removed.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/net/address.h"

namespace sluice {

// The routing table of an exception port: by its name, so that the rules of a killed process are found again.
std::uint32_t exception_table(const std::string& interface);

class RtNetlink {
 public:
  static Result<RtNetlink> open();

  // Up, with this MTU, and without IPv6 addresses of the kernel's own making.
  Result<void> set_up_quietly(unsigned interface, std::uint16_t mtu);
  Result<MacAddress> mac_of(const std::string& interface);
  Result<void> add_address(unsigned interface, IpAddress address);  // full-length prefix, no duplicate detection
  Result<void> remove_address(unsigned interface, IpAddress address);
  Result<void> add_neighbor(unsigned interface, IpAddress address, MacAddress mac);  // permanent
  Result<void> add_default_route(unsigned interface, IpAddress gateway, std::uint32_t table);  // onlink
  Result<void> add_rule(IpAddress source, std::uint32_t table);     // from SOURCE lookup TABLE
  Result<void> remove_rule(IpAddress source, std::uint32_t table);
  Result<void> remove_rules_of(std::uint32_t table);

 private:
  explicit RtNetlink(Fd socket) : socket_(std::move(socket)) {}
  class Request;
  Result<void> send(Request& request, const char* step);

  Fd socket_;
};

}  // namespace sluice
