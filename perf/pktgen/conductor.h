// Conductor: a whole run. Opens ports, waits for link and gateway, opens flows, goes through the
// rates, reports. The loop runs on a core of its own; this thread prints.
#pragma once

#include "perf/pktgen/options.h"

namespace sluice::perf {

// The exit status, see --help.
int conduct(const Options& options);

}  // namespace sluice::perf
