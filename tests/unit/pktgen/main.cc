#include <gtest/gtest.h>
#include <rte_eal.h>

// Once for all tests: DPDK's environment in this process's own memory, no hugepages, no root.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* arguments[] = {"pktgen-tests",    "--no-huge",           "--no-shconf", "--no-pci",
                             "--no-telemetry",  "--log-level=*:error", "-m",          "256",
                             "--lcores=0@(0-1)"};
  if (rte_eal_init(std::size(arguments), const_cast<char**>(arguments)) < 0) return 1;
  return RUN_ALL_TESTS();
}
