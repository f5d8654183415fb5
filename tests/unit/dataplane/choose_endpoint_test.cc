#include "dataplane/pipeline/choose_endpoint.h"

#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::choose_endpoint_test {
namespace {

std::unique_ptr<trace::Bed> bed_with(const std::string& choice) {
  trace::Model model;
  EXPECT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:80", "weight", "1", ";", "endpoint", "10.2.0.12:80", "weight", "2", ";",
                            "endpoint", "10.2.0.13:80", "weight", "3", ";", "endpoint", "10.2.0.14:80", "weight", "4", ";",
                            "endpoint", "10.2.0.15:80", "drain", ";", "choice", choice, "}"}));
  auto bed = trace::Bed::create(model);
  EXPECT_TRUE(bed);
  return std::move(*bed);
}

FlowKey any_key(test::Random& random) {
  return {IpAddress::v4(Be32{static_cast<std::uint32_t>(random.word())}), *IpAddress::parse("10.9.0.1"),
          Be16{static_cast<std::uint16_t>(random.word())}, be16(80), 6};
}

class ChooseEndpoint : public testing::TestWithParam<const char*> {};

// MG-02: each endpoint within 2 % of its weight, over a million flows.
TEST_P(ChooseEndpoint, FollowsTheWeights) {
  SLUICE_TRACE_SEED();
  test::Random random(50);
  const auto bed = bed_with(GetParam());
  const ClusterRow& cluster = bed->tables().clusters()[0];
  std::uint64_t counts[5] = {};
  const std::uint64_t flows = test::tries(1'000'000);
  for (std::uint64_t i = 0; i < flows; ++i) {
    const std::uint16_t chosen = choose_endpoint(bed->world(0), cluster, any_key(random));
    ASSERT_LT(chosen, 5);
    ++counts[chosen];
    if (std::string(GetParam()) == "least") {
      bed->endpoint_counters(0, bed->tables().endpoints_of(cluster)[chosen].id).flows_active.add(1);
    }
  }
  EXPECT_EQ(counts[4], 0u);
  for (std::uint64_t weight = 1; weight <= 4; ++weight) {
    const double share = static_cast<double>(counts[weight - 1]) / static_cast<double>(flows);
    const double expected = static_cast<double>(weight) / 10;
    EXPECT_NEAR(share, expected, expected * (test::tries(100) == 100 ? 0.02 : 0.05)) << "weight " << weight;
  }
}

INSTANTIATE_TEST_SUITE_P(Choices, ChooseEndpoint, testing::Values("hash", "rotate", "random", "least"),
                         [](const testing::TestParamInfo<const char*>& info) { return std::string(info.param); });

TEST(ChooseByHash, IsTheSameOnEveryBoxAndForEveryPacket) {
  SLUICE_TRACE_SEED();
  test::Random random(51);
  const auto first = bed_with("hash"), second = bed_with("hash");
  for (int i = 0; i < 10'000; ++i) {
    const FlowKey key = any_key(random);
    ASSERT_EQ(choose_endpoint(first->world(0), first->tables().clusters()[0], key),
              choose_endpoint(second->world(0), second->tables().clusters()[0], key));
  }
}

// A client is known by the first bits of its address: its port, and what it asks for, do not matter.
TEST(ChooseByHash, LeadsAllOfASourceNetworkToOneEndpoint) {
  SLUICE_TRACE_SEED();
  test::Random random(52);
  trace::Model model;
  for (const std::string end : {"1", "2", "3", "4", "5", "6", "7"}) {
    ASSERT_TRUE(model.change({"cluster", "web", "endpoint", "10.2.0.1" + end + ":80"}));
  }
  ASSERT_TRUE(model.change({"cluster", "web", "{", "choice", "hash", ";", "persist", "24/48", "}"}));
  const auto bed = std::move(*trace::Bed::create(model));
  World& world = bed->world(0);
  const ClusterRow& cluster = bed->tables().clusters()[0];
  std::uint64_t counts[7] = {};
  for (int i = 0; i < 2'000; ++i) {
    const bool is_v4 = random.one_in(2);
    FlowKey key = any_key(random);
    if (!is_v4) key.source = IpAddress{random.word(), random.word()};
    const std::uint16_t chosen = choose_endpoint(world, cluster, key);
    ++counts[chosen];
    for (int other = 0; other < 4; ++other) {
      FlowKey near = any_key(random);
      near.protocol = 17;
      near.source = is_v4 ? IpAddress::v4(Be32{(key.source.as_v4().raw & 0x00ff'ffff) | static_cast<std::uint32_t>(random.word()) << 24})
                          : IpAddress{(key.source.high & 0xffff'ffff'ffff) | random.word() << 48, random.word()};
      ASSERT_EQ(choose_endpoint(world, cluster, near), chosen) << key.source.text() << " " << near.source.text();
    }
  }
  for (const std::uint64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 2'000.0 / 7, 75) << "networks are spread";
}

}  // namespace
}  // namespace sluice::choose_endpoint_test
