#include "tests/tools/storm.h"

#include "tests/unit/dataplane/property.h"

namespace sluice::storm_test {
namespace {

struct Layers {
  const char* name;
  bool l2, l3, l4;
  std::uint64_t count;
};

class StormTest : public testing::TestWithParam<Layers> {};

TEST_P(StormTest, LiveFlowsNoticeNothingAndTheLedgerBalances) {
  StormOptions options;
  options.count = test::tries(GetParam().count);
  options.seed = test::run_seed();
  options.spoils_l2 = GetParam().l2;
  options.spoils_l3 = GetParam().l3;
  options.spoils_l4 = GetParam().l4;
  SCOPED_TRACE(std::string("replay with: storm --class ") + GetParam().name + " --count " + std::to_string(options.count) + " --seed " +
               std::to_string(options.seed));
  const auto report = run_storm(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GE(report->packets, options.count);
  EXPECT_EQ(report->live_wrong, 0u);
  EXPECT_TRUE(report->faults.empty()) << report->faults.front();
  EXPECT_GT(report->verdicts.size(), 10u);  // the storm did blow
}

INSTANTIATE_TEST_SUITE_P(Layers, StormTest,
                         testing::Values(Layers{"l2", true, false, false, 250'000}, Layers{"l3", false, true, false, 250'000},
                                         Layers{"l4", false, false, true, 250'000}, Layers{"all", true, true, true, 1'000'000}),
                         [](const testing::TestParamInfo<Layers>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice::storm_test
