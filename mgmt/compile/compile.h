// compile(): a validated configuration, what health checks know, and what is drained -> a snapshot.
//
// Pure and repeatable: the same arguments give the same bytes, whatever the order of edits. Rows
// are sorted by kind and name. Nothing here is slow: a change of one endpoint's health rebuilds the
// slots of its clusters only, when the caller passes the cache of the last time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/tables/snapshot_writer.h"
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

// The endpoints that an operator drains, and since when (wall clock, so that it survives a
// restart).
using Drains = std::map<ObjectKey, std::uint64_t>;

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

// What health checks say of an endpoint as a member of a cluster, drained or not.
struct EndpointStatus {
  EndpointState state = EndpointState::up;
  bool is_checked = false;  // some health check watches it
  std::string reason;       // why it is not up
  std::uint64_t since_unix_ms = 0;
};
EndpointStatus endpoint_health(const Object& cluster, const ObjectKey& endpoint,
                               const HealthRecords& health);

// The next moment after `now_unix_ms` at which time alone changes the tables: a drain deadline passes, an endpoint that
// came up gets a larger share. Nothing when none will.
std::optional<std::uint64_t> next_change(const ObjectStore& objects, const Drains& drains, const HealthRecords& health,
                                         std::uint64_t now_unix_ms);

}  // namespace sluice
