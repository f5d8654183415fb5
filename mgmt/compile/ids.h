// IdMap: the ids under which the dataplane keeps counters and flows. The same thing keeps its id
// for as long as possible, also while it is gone from the configuration: an id is given to
// something else only when all ids of its kind were used up, and then the one that has been gone
// longest goes first.
//
// A value: mgmt/commit persists it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "mgmt/schema/resolve.h"

namespace sluice {

class IdSpace {
 public:
  explicit IdSpace(std::uint32_t limit) : limit_(limit) {}

  // Makes `keys` (sorted, unique) the living ones; gives ids to those that have none.
  Result<void> live(const std::vector<std::string>& keys);
  std::optional<std::uint32_t> find(const std::string& key) const;

  struct Entry {
    std::uint32_t id = 0;
    std::uint64_t gone = 0;  // 0: living; else the turn at which it went
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }
  // Puts back what was persisted; false when it contradicts itself.
  bool restore(const std::string& key, Entry entry);

 private:
  std::uint32_t limit_;
  std::uint32_t next_ = 0;  // ids from here on were never given
  std::uint64_t turn_ = 0;
  std::map<std::string, Entry> entries_;
  std::set<std::uint32_t> used_;
};

struct IdMap {
  IdMap();
  IdSpace vips;
  IdSpace clusters;
  IdSpace endpoints;

  // Gives ids to everything that `objects` compiles to.
  Result<void> cover(const ObjectStore& objects);
};

std::string vip_id_key(const ResolvedVip& vip);
// Of the VIP that virtual hosts with server names share: what is counted before one of them is chosen.
std::string listener_id_key(const ResolvedVip& vip);
std::string cluster_id_key(const Object& cluster);
std::string endpoint_id_key(const Object& cluster, const ResolvedEndpoint& endpoint);

// The clusters that some VIP leads to, sorted by key.
std::vector<ObjectPtr> compiled_clusters(const std::vector<ResolvedVip>& vips);

}  // namespace sluice
