#include "dataplane/io/eal.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/io/ports.h"
#include "tests/unit/io/small_snapshot.h"

namespace sluice::eal_test {
namespace {

TEST(Hugepages, reads_what_proc_meminfo_says) {
  const auto state = parse_meminfo("MemTotal: 5 kB\nHugePages_Total:  1024\nHugePages_Free:     7\nHugepagesize:  2048 kB\n");
  EXPECT_EQ(state.free_pages, 7u);
  EXPECT_EQ(state.page_bytes, 2u << 20);
}

TEST(Hugepages, says_how_many_are_missing_and_how_to_reserve_them) {
  EXPECT_TRUE(check_hugepages({2 << 20, 10}, 20 << 20));
  const auto refused = check_hugepages({2 << 20, 3}, 20 << 20);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("10 of 2048 KiB are needed and 3 are free"), std::string::npos);
  EXPECT_NE(refused.error().message.find("+ 7 )) > /proc/sys/vm/nr_hugepages"), std::string::npos);
  EXPECT_FALSE(check_hugepages({}, 1));
}

TEST(Cpus, names_the_one_that_is_not_there) {
  NodeRow node{};
  node.worker_count = 2;
  node.worker_cpus[1] = 9;
  const unsigned cpus[] = {0, 1};
  const auto refused = check_cpus(node, cpus);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("CPU 9"), std::string::npos);
  node.worker_cpus[1] = 1;
  EXPECT_TRUE(check_cpus(node, cpus));
}

TEST(EalArguments, workers_get_their_cpus_and_the_main_lcore_floats) {
  const auto buffer = small_snapshot(1, [](SnapshotWriter& writer) {
    writer.node.worker_count = 2;
    writer.node.worker_cpus[0] = 1;
    writer.node.worker_cpus[1] = 0;
  });
  const unsigned cpus[] = {0, 1};
  const auto arguments = eal_arguments(*Snapshot::verify(buffer.bytes()), cpus);
  EXPECT_NE(std::find(arguments.begin(), arguments.end(), "--lcores=0@(0,1),1@1,2@0"), arguments.end());
  EXPECT_NE(std::find(arguments.begin(), arguments.end(), "--no-pci"), arguments.end());
}

TEST(Buffers, jumbo_ports_have_a_pool_of_their_own) {
  const auto usual = small_snapshot(1);
  const BufferPlans without = buffers_for(*Snapshot::verify(usual.bytes()));
  EXPECT_EQ(without.jumbo.count, 0u);
  EXPECT_EQ(without.usual.frame_bytes, 2'048);

  const auto mixed = small_snapshot(1, [](SnapshotWriter& writer) {
    PortRow page = small_port(writer, "page", "veth2");
    page.mtu = 3'498;
    writer.add(page);
    PortRow jumbo = small_port(writer, "jumbo", "veth3");
    jumbo.mtu = 9'000;
    writer.add(jumbo);
  });
  const BufferPlans plans = buffers_for(*Snapshot::verify(mixed.bytes()));
  EXPECT_EQ(plans.usual.frame_bytes + 128u + 128u + 64u, 4'096u) << "the largest that AF_XDP takes";
  EXPECT_GE(plans.jumbo.frame_bytes, 9'000 + 22);
  EXPECT_GT(plans.jumbo.count, 3u * 2'048) << "the queue's rings";
  EXPECT_GT(hugepage_bytes_for(*Snapshot::verify(mixed.bytes())), hugepage_bytes_for(*Snapshot::verify(usual.bytes())));
}

TEST(EalArguments, a_pci_port_is_the_only_device_that_is_probed) {
  const auto buffer = small_snapshot(1, [](SnapshotWriter& writer) {
    PortRow port = small_port(writer, "fast", "0000:01:00.0");
    port.eal_option = writer.name("--allow=0000:01:00.0,arg=1");
    writer.add(port);
  });
  const unsigned cpus[] = {0};
  const auto arguments = eal_arguments(*Snapshot::verify(buffer.bytes()), cpus);
  EXPECT_NE(std::find(arguments.begin(), arguments.end(), "--allow=0000:01:00.0,arg=1"), arguments.end());
  EXPECT_EQ(std::find(arguments.begin(), arguments.end(), "--no-pci"), arguments.end());
}

TEST(CheckPorts, names_the_port_whose_device_is_not_there) {
  struct {
    const char* driver;
    const char* option;
    const char* said;
  } const cases[] = {{"net_ixgbe", "--allow=ffff:ff:1f.7", "port third: profile ring (driver net_ixgbe) wants a PCI device"},
                     {"net_ixgbe", "--allow=veth-out", "none with address veth-out"},
                     {"net_af_xdp", "--vdev=net_af_xdp0,iface=nosuch0", "port third: interface nosuch0 does not exist"},
                     {"net_af_packet", "--vdev=net_af_packet0", "no iface="},
                     {"net_ring", "net_ring0", "port third: 'net_ring0' begins neither"}};
  for (const auto& test : cases) {
    const auto buffer = small_snapshot(1, [&](SnapshotWriter& writer) {
      PortRow port = small_port(writer, "third", "device");
      port.driver = writer.name(test.driver);
      port.eal_option = writer.name(test.option);
      writer.add(port);
    });
    const auto refused = check_ports(*Snapshot::verify(buffer.bytes()));
    ASSERT_FALSE(refused) << test.option;
    EXPECT_NE(refused.error().message.find(test.said), std::string::npos) << refused.error().message;
  }
  const auto good = small_snapshot(1);
  EXPECT_TRUE(check_ports(*Snapshot::verify(good.bytes())));
}

TEST(EalOption, takes_a_virtual_device_apart_and_fills_in_the_program) {
  const auto option = EalOption::parse("--vdev=net_af_xdp0,iface=veth0,xdp_prog={xdp_prog}", "/lib/x.o");
  ASSERT_TRUE(option);
  EXPECT_TRUE(option->is_virtual);
  EXPECT_EQ(option->name, "net_af_xdp0");
  EXPECT_EQ(option->arguments, "iface=veth0,xdp_prog=/lib/x.o");
  EXPECT_EQ(option->argument("iface"), "veth0");
  EXPECT_EQ(option->argument("xdp_prog"), "/lib/x.o");
  EXPECT_EQ(option->argument("qpairs"), "");
}

TEST(EalOption, refuses_what_names_no_device) {
  EXPECT_FALSE(EalOption::parse("--vdev=", ""));
  EXPECT_FALSE(EalOption::parse("--no-pci", ""));
  const auto option = EalOption::parse("--allow=0000:01:00.0", "");
  ASSERT_TRUE(option);
  EXPECT_FALSE(option->is_virtual);
}

}  // namespace
}  // namespace sluice::eal_test
