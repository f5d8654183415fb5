#include "perf/pktgen/report.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::perf::report_test {
namespace {

TEST(Report, NumbersAndTimesAreShort) {
  EXPECT_EQ(short_number(INFINITY), "max");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(12'345), "12.3 k");
  EXPECT_EQ(short_number(1'234'567), "1.23 M");
  EXPECT_EQ(short_time(999), "999 ns");
  EXPECT_EQ(short_time(12'345), "12.3 us");
  EXPECT_EQ(short_time(12'345'678), "12.35 ms");
}

TEST(Report, JsonHoldsEveryCountAndTheLoss) {
  Step step;
  step.offered = 1'000;
  step.seconds = 2;
  step.counts.values[static_cast<std::size_t>(Count::requests)] = 10;
  step.counts.values[static_cast<std::size_t>(Count::answers)] = 7;
  step.counts.values[static_cast<std::size_t>(Count::late)] = 1;
  Report report(false);
  report.add_fact("command", "a \"quoted\" one");
  report.add(step);
  const std::string json = report.json();
  for (const CountText& count : count_texts) {
    EXPECT_NE(json.find('"' + std::string(count.name) + '"'), std::string::npos) << count.name;
  }
  EXPECT_NE(json.find("\"lost\":2"), std::string::npos) << json;
  EXPECT_NE(json.find("\"microseconds\":2000000"), std::string::npos) << json;
}

}  // namespace
}  // namespace sluice::perf::report_test
