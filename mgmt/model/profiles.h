// The NIC profiles by name, as they were read at start.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mgmt/api/nic_profile.pb.h"

namespace sluice {

using NicProfiles = std::map<std::string, api::NicProfile>;  // defaults applied

inline std::vector<std::string> profile_names(const NicProfiles& profiles) {
  std::vector<std::string> names;
  for (const auto& entry : profiles) names.push_back(entry.first);
  return names;
}

}  // namespace sluice
