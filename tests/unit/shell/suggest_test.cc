#include "mgmt/shell/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::suggest_test {
namespace {

TEST(Suggest, FindsWhatWasMeant) {
  const std::vector<std::string> names = {"virtual-hosts", "clusters", "endpoints", "flows"};
  EXPECT_EQ(closest_name("endpionts", names), "endpoints");
  EXPECT_EQ(closest_name("Endpoint", names), "endpoints");
  EXPECT_EQ(closest_name("virtual_host", names), "virtual-hosts");
  EXPECT_EQ(closest_name("vi", names), "virtual-hosts");
  EXPECT_EQ(closest_name("clutser", names), "clusters");
}

TEST(Suggest, SaysNothingWhenNothingIsClose) {
  const std::vector<std::string> names = {"flows", "ports"};
  EXPECT_EQ(closest_name("frobnicate", names), "");
  EXPECT_EQ(closest_name("x", names), "");
  EXPECT_EQ(closest_name("", names), "");
  EXPECT_EQ(closest_name("flows", {}), "");
}

}  // namespace
}  // namespace sluice::suggest_test
