// The tests of settle want real packet buffers: DPDK's environment without hugepages, devices or root.
#include <gtest/gtest.h>
#include <rte_eal.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  char program[] = "io_tests", huge[] = "--no-huge", memory[] = "-m64", pci[] = "--no-pci", no_files[] = "--no-shconf",
       telemetry[] = "--no-telemetry", lcores[] = "--lcores=0", quiet[] = "--log-level=*:error";
  char* arguments[] = {program, huge, memory, pci, no_files, telemetry, lcores, quiet, nullptr};
  if (rte_eal_init(8, arguments) < 0) return 1;
  return RUN_ALL_TESTS();
}
