// The counters of VIPs and endpoints as the dataplane has them now, by the ids of the snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "dataplane/base/result.h"
#include "dataplane/base/units.h"

namespace sluice {

struct VipCounters {
  std::uint64_t flows_active = 0;
  std::uint64_t flows_opened = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t dropped = 0;
  std::uint64_t half_open = 0;
  std::string syn_cookies;  // never, always; on, off: by threshold
};

struct EndpointCounters {
  std::uint64_t flows_active = 0;
  std::uint64_t flows_opened = 0;
  std::uint64_t to_bytes = 0;
  std::uint64_t from_bytes = 0;
};

struct DataplaneCounters {
  std::map<std::uint32_t, VipCounters> vips;
  std::map<std::uint32_t, EndpointCounters> endpoints;
};

// Asks the dataplane; an error says why it did not answer. Blocks for at most `timeout`.
Result<DataplaneCounters> ask_counters(const std::string& socket_path, Milliseconds timeout);

}  // namespace sluice
