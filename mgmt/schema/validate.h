// Validates a whole configuration. Nothing that passes here may be refused by compile or the
// dataplane.
//
// The store must hold objects whose fields were checked by check_fields(); validate() calls it
// first and stops there when it finds something.
#pragma once

#include "dataplane/net/address.h"
#include "mgmt/model/profiles.h"
#include "mgmt/schema/problem.h"

namespace sluice {

// An address that the kernel of this box holds.
struct HostAddress {
  IpAddress address;
  std::string interface;
};

struct ValidationWorld {
  const NicProfiles& profiles;
  std::vector<HostAddress> host_addresses;  // empty: not checked (a configuration loaded at start)
};

// The rules of one object alone.
void check_fields(const Object& object, Findings& findings);

Findings validate(const ObjectStore& objects, const ValidationWorld& world);

}  // namespace sluice
