// The addresses that the kernel of this namespace holds: a VIP must not be one of them.
#pragma once

#include <vector>

#include "mgmt/schema/validate.h"

namespace sluice {

// Loopback and link-local addresses are left out: nobody could mean them.
std::vector<HostAddress> host_addresses();

}  // namespace sluice
