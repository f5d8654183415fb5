#include "mgmt/compile/compile.h"

#include "mgmt/compile/sections.h"
#include "mgmt/model/table_limits.h"

namespace sluice {

static_assert(limits::routes == routes_max && limits::vips == vips_max &&
              limits::endpoints == endpoints_max);

const std::vector<std::uint16_t>* SlotCache::find(const ObjectKey& cluster,
                                                  const std::string& made_from) const {
  const auto found = entries_.find(cluster);
  return found != entries_.end() && found->second.made_from == made_from ? &found->second.slots
                                                                         : nullptr;
}

const std::vector<std::uint16_t>& SlotCache::keep(const ObjectKey& cluster, std::string made_from,
                                                  std::vector<std::uint16_t> slots) {
  Entry& entry = entries_[cluster];
  entry = {std::move(made_from), std::move(slots)};
  return entry.slots;
}

Result<SnapshotBuffer> compile(const CompileInput& input, SlotCache* cache) {
  const ObjectPtr node = node_of(input.objects);
  if (node == nullptr) return fail("there is no node object: apply one with at least one port");
  SnapshotWriter writer;
  const SnatPoolRows snat_pools = write_node(writer, node, input.profiles, cache);
  const auto vips = vips_of(input.objects);
  const ClusterRows clusters = write_clusters(writer, input, vips, snat_pools, cache);
  if (auto written = write_vips(writer, input, vips, clusters, cache); !written) return tl::unexpected(written.error());
  return writer.finish(input.generation);
}

}  // namespace sluice
