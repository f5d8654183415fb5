// What is written reads back to the same object, in one canonical form.
#include "mgmt/text/writer.h"

#include <gtest/gtest.h>

#include "dataplane/base/json_writer.h"
#include "mgmt/text/config_reader.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::writer_test {
namespace {

TEST(Writer, RoundTripOfEverything) {
  const ObjectStore objects = objects_from(base_yaml());
  const std::string text = to_yaml(objects);
  const ObjectStore again = objects_from(text);
  ASSERT_EQ(again.size(), objects.size());
  for (const auto& [key, object] : objects.all()) {
    ASSERT_NE(again.find(key), nullptr) << key.text();
    EXPECT_TRUE(is_same_text(*object, *again.find(key))) << to_yaml(*object);
  }
  EXPECT_EQ(to_yaml(again), text);
}

TEST(Writer, CanonicalText) {
  const ObjectStore objects = objects_from(
      "spec: {port: 8080, ip: 10.0.0.1, sluice: {weight: 3}}\nkind: endpoint\n"
      "metadata: {labels: {b: 'true', a: \"x y\"}, name: e, description: \"with "
      "\\\"quotes\\\"\\nand lines\"}\n");
  EXPECT_EQ(to_yaml(objects),
            "kind: endpoint\nmetadata:\n  name: e\n  labels:\n    a: \"x y\"\n    b: \"true\"\n"
            "  description: \"with \\\"quotes\\\"\\u000aand lines\"\n"
            "spec:\n  ip: \"10.0.0.1\"\n  port: 8080\n  sluice:\n    weight: 3\n");
}

TEST(Writer, EmptyMessagesStay) {
  const ObjectStore objects = objects_from(
      "kind: healthcheck\nmetadata: {name: h}\nspec: {tcp_health_check: {}, interval: 30s}\n");
  EXPECT_EQ(
      to_yaml(objects),
      "kind: healthcheck\nmetadata:\n  name: h\nspec:\n  tcp_health_check: {}\n  interval: 30\n");
}

TEST(Writer, JsonOfAnObject) {
  const ObjectStore objects =
      objects_from("kind: cluster\nmetadata: {name: c}\nspec: {endpoints: [{name: a}]}\n");
  JsonWriter json;
  to_json(json, *objects.find({"cluster", "default", "c"}));
  EXPECT_EQ(json.text(),
            R"({"kind":"cluster","metadata":{"name":"c"},"spec":{"endpoints":[{"name":"a"}]}})");
}

TEST(Writer, JsonIsReadAsYaml) {
  const ObjectStore objects = objects_from(
      R"({"kind":"cluster","metadata":{"name":"c"},"spec":{"endpoints":[{"name":"a"}]}})");
  EXPECT_NE(objects.find({"cluster", "default", "c"}), nullptr);
}

TEST(Defaults, AreAppliedToACopy) {
  const ObjectStore objects = objects_from(
      "kind: node\nmetadata: {name: n}\nspec: {ports: [{name: p, profile: ring, device: d}]}\n");
  const ObjectPtr node = objects.find({"node", "default", "n"});
  const auto& effective = static_cast<const api::Node&>(node->effective()).spec();
  EXPECT_EQ(effective.workers_size(), 1);
  EXPECT_TRUE(effective.idle_backoff());
  EXPECT_EQ(effective.flows().capacity(), 65536u);
  EXPECT_EQ(effective.timeouts().tcp_closing(), 60'000u);
  EXPECT_EQ(effective.ports(0).mtu(), 1500u);
  EXPECT_FALSE(effective.has_exception_port());
  EXPECT_EQ(static_cast<const api::Node&>(node->written()).spec().workers_size(), 0);
}

}  // namespace
}  // namespace sluice::writer_test
