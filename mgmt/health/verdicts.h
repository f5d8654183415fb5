// What health checks have found out, as a value: handed to compile, kept over a restart of mgmt.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "mgmt/model/objects.h"

namespace sluice {

enum class HealthVerdict { unknown, up, down };

// One probe target: an endpoint as one healthcheck sees it.
struct HealthTarget {
  ObjectKey endpoint;
  ObjectKey healthcheck;
  friend auto operator<=>(const HealthTarget&, const HealthTarget&) = default;
};

struct HealthRecord {
  HealthVerdict verdict = HealthVerdict::unknown;
  std::string reason;               // of the last failure; empty while up
  std::uint64_t since_unix_ms = 0;  // wall clock of the last change of verdict
  friend bool operator==(const HealthRecord&, const HealthRecord&) = default;
};

using HealthRecords = std::map<HealthTarget, HealthRecord>;

}  // namespace sluice
