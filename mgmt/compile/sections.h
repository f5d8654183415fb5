// The sections of a snapshot, a file for each. compile() writes them in this order, on which the bytes of a snapshot depend.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mgmt/compile/compile.h"
#include "mgmt/schema/resolve.h"

namespace sluice {

using SnatPoolRows = std::map<std::string, std::uint32_t>;  // by name
struct ClusterResult {
  std::uint32_t row = 0;
  bool is_pending = false;  // no health verdict says yet whether anything answers
};
using ClusterRows = std::map<ObjectKey, ClusterResult>;

SnatPoolRows write_node(SnapshotWriter& writer, const ObjectPtr& node, const NicProfiles& profiles, SlotCache* cache);
// Those that some VIP leads to.
ClusterRows write_clusters(SnapshotWriter& writer, const CompileInput& input, const std::vector<ResolvedVip>& vips,
                           const SnatPoolRows& snat_pools, SlotCache* cache);
Result<void> write_vips(SnapshotWriter& writer, const CompileInput& input, const std::vector<ResolvedVip>& vips,
                        const ClusterRows& clusters, SlotCache* cache);

}  // namespace sluice
