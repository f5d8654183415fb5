// The walk of a packet in words, for `trace`: which stage found out what, and how it ended.
// Pure functions of an entry (watch.h).
#pragma once

#include <string>
#include <vector>

#include "dataplane/pipeline/watch.h"

namespace sluice {

struct WalkStep {
  std::string_view stage;
  std::string text;
};

// From arrival to the stage that decided; what comes after it did not see the packet.
std::vector<WalkStep> walk_of(const WatchEntry& entry);

// "tcp 198.51.100.7:4000 > 10.9.0.1:80 syn"; without addresses the kind alone.
std::string text_before(const WatchEntry& entry);
std::string text_after(const WatchEntry& entry);  // of a tunnel: its outer header

}  // namespace sluice
