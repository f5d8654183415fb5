// sluice-dataplane: forwards packets. Builds the Dataplane and starts it; all else is in lcore/.
#include <cstdio>

#include "dataplane/base/log.h"
#include "dataplane/lcore/dataplane.h"

int main(int argc, char** argv) {
  auto options = sluice::DataplaneOptions::parse(argc, argv);
  if (!options) {
    sluice::log_error("{}", options.error().message);
    return 2;
  }
  auto dataplane = sluice::Dataplane::create(*options);
  if (!dataplane) {
    sluice::log_error("{}", dataplane.error().message);
    return 1;
  }
  (*dataplane)->run();
  return 0;
}
