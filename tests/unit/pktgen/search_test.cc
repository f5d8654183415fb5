#include "perf/pktgen/search.h"

#include <gtest/gtest.h>

namespace sluice::perf::search_test {
namespace {

// Searches a device that loses nothing up to `limit`; how many trials it took.
int trials_until_found(double limit, double least, double most, double resolution, double& found) {
  ZeroLossSearch search({least, most, resolution});
  int trials = 0;
  while (const auto rate = search.next()) {
    EXPECT_GE(*rate, least);
    EXPECT_LE(*rate, most);
    search.report(*rate <= limit);
    if (++trials > 100) {
      ADD_FAILURE() << "does not end";
      break;
    }
  }
  found = search.found();
  return trials;
}

TEST(ZeroLossSearch, FindsTheLimitToItsResolution) {
  for (const double limit : {1.5, 10.0, 123.0, 500.0, 999.0, 999.9}) {
    double found = 0;
    const int trials = trials_until_found(limit, 1, 1'000, 0.001, found);
    EXPECT_LE(found, limit);
    EXPECT_GE(found, limit - 1.0) << limit;
    EXPECT_LE(trials, 13) << limit;
  }
}

TEST(ZeroLossSearch, TheMostIsTriedFirstAndEndsItWhenItPasses) {
  double found = 0;
  EXPECT_EQ(trials_until_found(2'000, 1, 1'000, 0.01, found), 1);
  EXPECT_EQ(found, 1'000);
}

TEST(ZeroLossSearch, ZeroWhenNotEvenTheLeastPasses) {
  double found = 1;
  trials_until_found(0.5, 1, 1'000, 0.01, found);
  EXPECT_EQ(found, 0);
  trials_until_found(1, 1, 1'000, 0.01, found);
  EXPECT_EQ(found, 1) << "the least itself is tried";
}

}  // namespace
}  // namespace sluice::perf::search_test
