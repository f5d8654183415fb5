#include "mgmt/shell/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice {
namespace {

TEST(Suggest, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("flows", "flows"), 0u);
  EXPECT_EQ(edit_distance("flow", "flows"), 1u);
  EXPECT_EQ(edit_distance("fwols", "flows"), 2u);
  EXPECT_EQ(edit_distance("flwos", "flows"), 1u) << "two swapped neighbours are one mistake";
}

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
}  // namespace sluice
