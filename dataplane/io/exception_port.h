// ExceptionPort: the TAP through which traffic for the box itself reaches its kernel and comes back.
//
// The kernel's end carries the box's own addresses (with full-length prefixes), those of the ports and those that
// node.exception_port gives to listeners of its own, so the kernel owns them only as long as this process lives: the TAP vanishes with it. What the kernel sends from one of these addresses is
// routed back into the TAP by a rule of its own (`from ADDRESS lookup TABLE`, a default route by way of a made-up
// neighbour); the dataplane then routes it like any packet.
// Threads: the control thread. Errors: name the interface and the step.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/io/ports.h"
#include "dataplane/net/address.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

class ExceptionPort {
 public:
  static Result<ExceptionPort> open(Ports& ports, const Snapshot& tables, const std::string& interface);

  std::uint16_t ethdev() const { return ethdev_; }
  MacAddress kernel_mac() const { return kernel_mac_; }
  std::uint16_t mtu() const { return mtu_; }
  // Brings addresses and rules to what `tables` says. New ones first.
  Result<void> serve_addresses(const Snapshot& tables);

 private:
  ExceptionPort() = default;

  std::string interface_;
  unsigned interface_index_ = 0;
  std::uint16_t ethdev_ = 0;
  MacAddress kernel_mac_{};
  std::uint16_t mtu_ = 0;
  std::vector<IpAddress> addresses_;  // sorted
};

}  // namespace sluice
