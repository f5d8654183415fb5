// The NIC profiles: all of ours can be read, and a wrong one is refused with file and line.
#include <gtest/gtest.h>

#include <fstream>

#include "mgmt/text/profile_reader.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::profiles_test {
namespace {

std::vector<std::string> errors_of(const std::string& text) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/x.yaml") << text;
  std::vector<std::string> out;
  for (const ConfigError& error : read_profiles(folder.path()).errors) {
    out.push_back(error.text().substr(folder.path().size() + 1));
  }
  return out;
}

const std::string good =
    "kind: nic_profile\nmetadata: {name: x}\nspec:\n  driver: net_x\n  eal_option: "
    "--vdev=net_x{index}\n  device_example: d\n  steering: [NONE]\n";

TEST(Profiles, AllOfOursAreRead) {
  const NicProfiles& profiles = real_profiles();
  EXPECT_EQ(profile_names(profiles),
            (std::vector<std::string>{"af_packet", "af_xdp", "i40e", "ice", "ixgbe", "memif",
                                      "mlx5", "pcap", "ring", "tap", "virtio"}));
  EXPECT_TRUE(profiles.at("af_xdp").spec().bifurcated());
  EXPECT_TRUE(profiles.at("af_xdp").spec().tested_here());
  EXPECT_FALSE(profiles.at("mlx5").spec().tested_here());
}

TEST(Profiles, TheSmallestOne) {
  EXPECT_EQ(errors_of(good), std::vector<std::string>{});
}

TEST(Profiles, WrongOnesAreRefused) {
  EXPECT_EQ(errors_of(replaced(good, "driver", "drvier"))[0].substr(0, 49),
            "x.yaml:4:3: spec.drvier: unknown field 'drvier'; ");
  EXPECT_EQ(errors_of(replaced(good, "[NONE]", "[NON]")),
            (std::vector<std::string>{
                "x.yaml:7:14: spec.steering[0]: 'NON' is not a value of steering; expected one of "
                "NONE, SNAT_PORT_HASH, FLOW_RULES, HANDOFF; did you mean 'NONE'?"}));
  EXPECT_EQ(
      errors_of(replaced(good, "{index}", "{indx}")),
      (std::vector<std::string>{"x.yaml:5:15: spec.eal_option: unknown placeholder {indx}; "
                                "expected {index}, {name}, {device}, {queues}, {frame_bytes}, {page_bytes} or "
                                "{xdp_prog}"}));
  EXPECT_EQ(errors_of(replaced(good, "name: x", "name: y")),
            (std::vector<std::string>{
                "x.yaml:2:18: metadata.name: 'y' is not the name of the file; expected x"}));
  EXPECT_EQ(errors_of(replaced(good, "  driver: net_x\n", "")),
            (std::vector<std::string>{"x.yaml:4:3: spec.driver: driver is required; expected "
                                      "Driver name as DPDK reports it."}));
  EXPECT_EQ(
      errors_of(replaced(good, "kind: nic_profile", "kind: node")),
      (std::vector<std::string>{"x.yaml:1:7: kind: not of the right kind; expected nic_profile"}));
  EXPECT_EQ(errors_of(good + "  rss: {key: \"6d5a\"}\n"),
            (std::vector<std::string>{
                "x.yaml:8:14: spec.rss.key: 2 bytes are too short for a key; expected 40 to 64 bytes in hexadecimal"}));
  EXPECT_EQ(errors_of(good + "  rss: {table_size: 100}\n"),
            (std::vector<std::string>{
                "x.yaml:8:21: spec.rss.table_size: 100 is no power of two; expected a power of two, such as 128"}));
  EXPECT_EQ(errors_of(good + "  queues_max: 99\n"),
            (std::vector<std::string>{
                "x.yaml:8:15: spec.queues_max: 99 is too large; expected 1 to 16"}));
}

TEST(Profiles, NoFolder) {
  const auto folder = read_profiles("/nowhere");
  ASSERT_EQ(folder.errors.size(), 1u);
  EXPECT_EQ(folder.errors[0].text(),
            "/nowhere: No such file or directory; expected a folder with *.yaml (--profiles)");
}

}  // namespace
}  // namespace sluice::profiles_test
