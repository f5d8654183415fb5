// nic_profiles/*.yaml -> NicProfiles. Every file is read; every error is reported with file and
// line.
#pragma once

#include <string>

#include "dataplane/base/result.h"
#include "mgmt/model/config_error.h"
#include "mgmt/model/profiles.h"

namespace sluice {

struct ProfileFolder {
  NicProfiles profiles;
  std::vector<ConfigError> errors;
};

// Reads all *.yaml of the folder. A folder that is missing or empty is an error in `errors`.
ProfileFolder read_profiles(const std::string& folder);

}  // namespace sluice
