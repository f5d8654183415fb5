#include "dataplane/pipeline/verdict.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::verdict_test {
namespace {

TEST(Verdict, NamesKindsAndSentences) {
  for (std::size_t i = 0; i < verdict_count; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    const std::string name(name_of(verdict));
    EXPECT_EQ(is_drop(verdict), name.starts_with("drop_")) << name;
    EXPECT_EQ(is_reject(verdict), name.starts_with("reject_")) << name;
    EXPECT_EQ(is_sent(verdict), name == "forward" || name == "reply" || name.starts_with("reject_")) << name;
    EXPECT_GT(help_of(verdict).size(), 10u) << name;
  }
  EXPECT_EQ(counter_name_of(Verdict::drop_no_flow), "drop.no_flow");
  EXPECT_EQ(counter_name_of(Verdict::forward), "forward");
}

}  // namespace
}  // namespace sluice::verdict_test
