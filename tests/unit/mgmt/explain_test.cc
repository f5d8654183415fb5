// explain: every kind, field and value that may be written has its sentence, and a wrong path is told the right one.
#include "mgmt/model/explain.h"

#include <gtest/gtest.h>

namespace sluice::explain_test {
namespace {

Explanation of(std::string_view path) {
  auto explanation = explain(path);
  EXPECT_TRUE(explanation) << path << ": " << explanation.error().message;
  return explanation ? std::move(*explanation) : Explanation{};
}

std::string refusal_of(std::string_view path) {
  const auto explanation = explain(path);
  EXPECT_FALSE(explanation) << path;
  return explanation ? "" : explanation.error().message;
}

const FieldHelp& below(const Explanation& explanation, std::string_view name) {
  static const FieldHelp none;
  for (const FieldHelp& field : explanation.below) {
    if (field.name == name) return field;
  }
  ADD_FAILURE() << explanation.path << " has no " << name;
  return none;
}

void expect_sentences(const std::string& path, int& count) {
  const Explanation here = of(path);
  EXPECT_NE(here.field.help, "") << path;
  for (const FieldHelp& value : here.values) {  // all, or none where the words speak for themselves
    EXPECT_EQ(value.help.empty(), here.values.front().help.empty()) << path << " " << value.name;
  }
  for (const FieldHelp& field : here.below) expect_sentences(path + "." + field.name, count);
  ++count;
}

TEST(Explain, EverythingThatMayBeWrittenHasASentence) {
  int count = 0;
  for (const FieldHelp& kind : of("").below) expect_sentences(kind.name, count);
  EXPECT_GT(count, 200);
}

TEST(Explain, ASpecIsWhatItsKindIs) { EXPECT_EQ(of("cluster.spec").field.help, of("cluster").field.help); }

TEST(Explain, TypesLimitsAndDefaultsAreThoseOfTheSchema) {
  const Explanation cluster = of("cluster.spec.sluice");
  const FieldHelp& drain = below(cluster, "drain_timeout");
  EXPECT_EQ(drain.type, "time, as 30s");
  EXPECT_EQ(drain.limits, "1s to 7d");
  EXPECT_EQ(drain.usual, "");
  EXPECT_EQ(below(cluster, "on_endpoint_down").limits, "KEEP, RESET, REPICK");
  EXPECT_EQ(below(cluster, "maglev_size").usual, "65537");
  EXPECT_EQ(below(of("cluster.spec"), "endpoints").type, "list of references to endpoint");
  EXPECT_TRUE(below(of("cluster"), "spec").is_required);
  EXPECT_EQ(below(of("advertise_policy.spec"), "port").instead, std::vector<std::string>{"port_ranges"});
}

TEST(Explain, PathsAreThoseOfErrorMessages) {
  EXPECT_EQ(of("node.spec.ports[3].mtu").path, "node.spec.ports.mtu");
  EXPECT_EQ(of("cluster.spec.").path, "cluster.spec");  // as completion leaves it
  EXPECT_EQ(of("cluster.spec.sluice.forwarding").values.front().name, "FULL_NAT");
}

TEST(Explain, AWrongPathIsToldTheRightOne) {
  EXPECT_EQ(refusal_of("clutser"), "there is no kind 'clutser'; did you mean cluster?");
  EXPECT_EQ(refusal_of("cluster.spec.endpionts"), "cluster.spec has no field 'endpionts'; did you mean cluster.spec.endpoints?");
  EXPECT_EQ(refusal_of("cluster.drain_timeout"), "cluster has no field 'drain_timeout'; did you mean cluster.spec.sluice.drain_timeout?");
  EXPECT_EQ(refusal_of("cluster.metadata.name.x"), "cluster.metadata.name has no fields, it is: name");
  EXPECT_EQ(refusal_of("cluster.spec.lb_port.x"), "cluster.spec has no field 'lb_port'; did you mean cluster.spec.sluice.lb_port?");
  EXPECT_NE(refusal_of("cluster.spec.xyzzy").find("it has endpoints, "), std::string::npos);
}

}  // namespace
}  // namespace sluice::explain_test
