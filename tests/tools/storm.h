// storm: random and mutated packets against the pipeline, in process, while live flows go on.
//
// One world of two lcores with TCP and UDP VIPs of both families and 100 live flows. Packets begin as something
// sensible and are spoilt layer by layer; between them the live flows talk in both directions, and each of their packets
// must come out once, as a forward, with the addresses its flow has had from the beginning. All else that leaves is
// checked by the bench (../traces/bed.h), and so is the ledger. The same seed sends the same packets.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice {

struct StormOptions {
  std::uint64_t count = 1'000'000;
  std::uint64_t seed = 1;
  bool spoils_l2 = true, spoils_l3 = true, spoils_l4 = true;
};

struct StormReport {
  std::uint64_t packets = 0;       // of the storm
  std::uint64_t live_packets = 0;  // of the live flows
  std::uint64_t live_wrong = 0;    // of these: lost, misdelivered or changed
  std::map<std::string, std::uint64_t> verdicts;
  std::vector<std::string> faults;  // the first few, with their packets
};

Result<StormReport> run_storm(const StormOptions& options);

}  // namespace sluice
