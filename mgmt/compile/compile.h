// compile(): a validated configuration, what health checks know, and what is drained -> a snapshot.
//
// Pure and repeatable: the same arguments give the same bytes, whatever the order of edits. Rows
// are sorted by kind and name. Nothing here is slow: a change of one endpoint's health rebuilds the
// slots of its clusters only, when the caller passes the cache of the last time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/tables/snapshot_writer.h"
#include "mgmt/compile/endpoint_status.h"
#include "mgmt/compile/ids.h"
#include "mgmt/health/verdicts.h"
#include "mgmt/model/profiles.h"

namespace sluice {

// Remembers the slot tables by what they were built from. Optional: the result is the same without.
class SlotCache {
 public:
  const std::vector<std::uint16_t>* find(const ObjectKey& cluster,
                                         const std::string& made_from) const;
  const std::vector<std::uint16_t>& keep(const ObjectKey& cluster, std::string made_from,
                                         std::vector<std::uint16_t> slots);

  // The tables of sources, by the policies that they were made of.
  std::map<std::vector<ObjectPtr>, PrefixTableParts> sources;
  // Databases of regular expressions, by these.
  std::map<std::vector<std::string>, std::vector<std::byte>> name_patterns;
  // That of the blocklist, by its node.
  std::map<ObjectPtr, PrefixTableParts> blocklist;

 private:
  struct Entry {
    std::string made_from;
    std::vector<std::uint16_t> slots;
  };
  std::map<ObjectKey, Entry> entries_;
};

struct CompileInput {
  const ObjectStore& objects;  // validated, with a node
  const NicProfiles& profiles;
  const HealthRecords& health;
  const Drains& drains;
  const IdMap& ids;  // covers the objects
  std::uint64_t generation = 0;
  std::uint64_t now_unix_ms = 0;  // decides which drain deadlines have passed
};

Result<SnapshotBuffer> compile(const CompileInput& input, SlotCache* cache = nullptr);

}  // namespace sluice
