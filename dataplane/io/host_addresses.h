// HostAddresses: the addresses that the kernel of this host owns, and whether they have changed.
//
// The XDP program needs them: what an endpoint of a NAT-mode cluster sends to the host itself (the answer to a health
// check, say) is not a reply to a client of ours.
// Threads: the control thread.
#pragma once

#include <vector>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/net/address.h"

namespace sluice {

class HostAddresses {
 public:
  static Result<HostAddresses> open();

  // Since the last call, as far as the kernel has told.
  bool has_changed();
  // Of all interfaces in this network namespace; sorted, without duplicates.
  std::vector<IpAddress> read() const;

 private:
  explicit HostAddresses(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;  // rtnetlink, hears of addresses that come and go
};

}  // namespace sluice
