// sluice-pktgen: options, then the run. All else is in conductor.cc and generator.cc.
#include "perf/pktgen/conductor.h"

int main(int argc, char** argv) {
  const sluice::perf::Parsed parsed = sluice::perf::parse_options(argc, argv);
  return parsed.options ? sluice::perf::conduct(*parsed.options) : parsed.status;
}
