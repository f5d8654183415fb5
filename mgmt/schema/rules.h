// The rules between objects, a file for each subject; validate() says in which order they are asked.
// References are followed first: all that stand below rely on them, and on fields that were checked.
#pragma once

#include <vector>

#include "mgmt/schema/resolve.h"
#include "mgmt/schema/validate.h"

namespace sluice {

// validate_references.cc
void validate_references(const ObjectStore& objects, Findings& findings);

// validate_node.cc
void validate_node(const ObjectStore& objects, const ValidationWorld& world, Findings& findings);

// validate_clusters.cc
void validate_clusters(const ObjectStore& objects, Findings& findings);
void validate_healthchecks(const ObjectStore& objects, Findings& findings);

// validate_virtual_hosts.cc
void validate_routes(const ObjectStore& objects, Findings& findings);
void validate_virtual_hosts(const ObjectStore& objects, Findings& findings);

// validate_vips.cc
void validate_advertise_policies(const ObjectStore& objects, Findings& findings);
void validate_vips(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings);         // each alone
void validate_shared_vips(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, Findings& findings);  // all together

// validate_addresses.cc
void validate_endpoint_addresses(const ObjectStore& objects, Findings& findings);
void validate_vip_addresses(const ObjectStore& objects, const std::vector<ResolvedVip>& vips, const ValidationWorld& world,
                            Findings& findings);

}  // namespace sluice
