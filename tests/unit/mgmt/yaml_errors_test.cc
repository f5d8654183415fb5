// Each way of writing wrong text, and the whole sentence the operator reads.
#include <gtest/gtest.h>

#include "mgmt/text/config_reader.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::yaml_errors_test {
namespace {

std::vector<std::string> errors_in(const std::string& text) {
  const std::vector<SourceFile> files = {{"f.yaml", text}};
  std::vector<std::string> out;
  for (const ConfigError& error : read_config(files).errors) out.push_back(error.text());
  return out;
}

struct Case {
  const char* name;
  std::string text;
  std::vector<std::string> errors;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;  // the text need not be UTF-8, and test reports are XML
}

std::string endpoint(const std::string& spec) {
  return "kind: endpoint\nmetadata: {name: e}\nspec:\n" + spec;
}

class YamlErrors : public testing::TestWithParam<Case> {};

TEST_P(YamlErrors, SayWhereWhatAndWhatWasMeant) {
  EXPECT_EQ(errors_in(GetParam().text), GetParam().errors);
}

const std::string kinds =
    "one of node, virtual_host, advertise_policy, route, cluster, endpoint, healthcheck, "
    "service_policy";
const std::string endpoint_fields = "one of ip, port, protocol, health_check_port, sluice";
const std::string no_object =
    "f.yaml: there is no object in this file; expected at least one object: kind, metadata, spec";

INSTANTIATE_TEST_SUITE_P(
    All, YamlErrors,
    testing::Values(
        Case{"empty", "", {no_object}}, Case{"comment_only", "# nothing\n", {no_object}},
        Case{"documents_of_nothing", "---\n---\n", {no_object}},
        Case{"scalar",
             "hello\n",
             {"f.yaml:1:1: 'hello' where an object is needed; expected an object: kind, metadata, "
              "spec"}},
        Case{"list",
             "[1]\n",
             {"f.yaml:1:1: a list where an object is needed; expected an object: kind, metadata, "
              "spec"}},
        Case{"no_kind",
             "metadata: {name: a}\n",
             {"f.yaml:1:1: kind: an object without a kind; expected " + kinds}},
        Case{"misspelt_kind",
             "kind: vitual_host\n",
             {"f.yaml:1:7: kind: unknown kind 'vitual_host'; expected " + kinds +
              "; did you mean 'virtual_host'?"}},
        Case{"kind_is_a_list",
             "kind: [node]\n",
             {"f.yaml:1:7: kind: unknown kind a list; expected " + kinds}},
        Case{"misspelt_field",
             endpoint("  ip: 10.0.0.1\n  prot: 80\n"),
             {"f.yaml:5:3: spec.prot: unknown field 'prot'; expected " + endpoint_fields +
              "; did you mean 'port'?"}},
        Case{"field_of_a_later_version",
             endpoint("  dns_name: a.example\n"),
             {"f.yaml:4:3: spec.dns_name: 'dns_name' is not supported by this version; expected " +
              endpoint_fields}},
        Case{"unsupported_choice",
             "kind: healthcheck\nmetadata: {name: h}\nspec: {http_health_check: {}}\n",
             {"f.yaml:3:8: spec.http_health_check: 'http_health_check' is not supported by this "
              "version; expected one of "
              "tcp_health_check, interval, timeout, healthy_threshold, unhealthy_threshold, "
              "jitter_percent"}},
        Case{"duplicate_key",
             endpoint("  port: 80\n  port: 81\n"),
             {"f.yaml:5:3: spec.port: 'port' is given twice; first in line 4; expected one of "
              "them"}},
        Case{"no_number",
             endpoint("  port: eighty\n"),
             {"f.yaml:4:9: spec.port: 'eighty' is not a number; expected a whole number"}},
        Case{"negative",
             endpoint("  port: -1\n"),
             {"f.yaml:4:9: spec.port: '-1' is not a number; expected a whole number"}},
        Case{"octal_look",
             endpoint("  port: 080\n"),
             {"f.yaml:4:9: spec.port: '080' is not a number; expected a whole number"}},
        Case{"unit_where_none_is",
             endpoint("  port: 80s\n"),
             {"f.yaml:4:9: spec.port: '80s' is not a number; expected a whole number"}},
        Case{"too_large",
             endpoint("  port: 99999999999999999999\n"),
             {"f.yaml:4:9: spec.port: 99999999999999999999 is too large; expected a whole number"}},
        Case{"unknown_unit",
             "kind: virtual_host\nmetadata: {name: v}\nspec: {idle_timeout: 5w}\n",
             {"f.yaml:3:22: spec.idle_timeout: '5w' has an unknown unit 'w'; expected a time: a "
              "number of milliseconds, or a text like 30s, 5m, 1h"}},
        Case{"half_a_second",
             "kind: healthcheck\nmetadata: {name: h}\nspec: {tcp_health_check: {}, interval: "
             "500ms}\n",
             {"f.yaml:3:40: spec.interval: '500ms' is no whole number of seconds; expected a time: "
              "a number of seconds, or a text like 30s, 5m, 1h"}},
        Case{"misspelt_enum",
             "kind: virtual_host\nmetadata: {name: v}\nspec: {proxy: TCP_PROXI}\n",
             {"f.yaml:3:15: spec.proxy: 'TCP_PROXI' is not a value of proxy; expected one of "
              "TCP_PROXY, TCP_PROXY_WITH_SNI, UDP_PROXY; did you mean 'TCP_PROXY'?"}},
        Case{"enum_in_lower_case",
             endpoint("  protocol: tcp\n"),
             {"f.yaml:4:13: spec.protocol: 'tcp' is not a value of protocol; expected one of TCP, "
              "UDP; did you mean 'TCP'?"}},
        Case{"no_bool",
             "kind: node\nmetadata: {name: n}\nspec: {idle_backoff: yes}\n",
             {"f.yaml:3:22: spec.idle_backoff: 'yes' is neither true nor false; expected true or "
              "false; did you mean 'true'?"}},
        Case{"map_for_a_list",
             "kind: cluster\nmetadata: {name: c}\nspec:\n  endpoints: {name: a}\n",
             {"f.yaml:4:14: spec.endpoints: a mapping where a list is needed; expected a list: "
              "[{...}] or lines that begin with '- '"}},
        Case{"scalar_for_a_list",
             "kind: node\nmetadata: {name: n}\nspec: {workers: 1}\n",
             {"f.yaml:3:17: spec.workers: '1' where a list is needed; expected a list: [a, b] or "
              "lines that begin with '- '"}},
        Case{"scalar_in_a_list_of_maps",
             "kind: cluster\nmetadata: {name: c}\nspec:\n  endpoints: [{name: a}, b]\n",
             {"f.yaml:4:26: spec.endpoints[1]: 'b' where a mapping is needed; expected fields: "
              "kind, namespace, name"}},
        Case{"map_for_a_value",
             endpoint("  ip: {}\n"),
             {"f.yaml:4:7: spec.ip: a mapping where a value is needed; expected a single value"}},
        Case{"nothing_for_a_value",
             endpoint("  ip:\n"),
             {"f.yaml:4:3: spec.ip: nothing where a value is needed; expected a single value"}},
        Case{"nothing_for_a_map",
             "kind: healthcheck\nmetadata: {name: h}\nspec:\n  tcp_health_check:\n",
             {"f.yaml:4:3: spec.tcp_health_check: nothing where a mapping is needed; expected "
              "fields below it, or {} if all that it may have can be left out"}},
        Case{"two_of_a_choice",
             "kind: route\nmetadata: {name: r}\nspec:\n  routes:\n    - route_destination: {}\n    "
             "  route_redirect: {}\n",
             {"f.yaml:6:7: spec.routes[0].route_redirect: 'route_destination' and 'route_redirect' "
              "exclude each other; expected only one of "
              "route_destination, route_redirect, route_direct_response"}},
        Case{"deep_path",
             "kind: cluster\nmetadata: {name: c}\nspec:\n  endpoints:\n    - name: a\n    - nmae: "
             "b\n",
             {"f.yaml:6:7: spec.endpoints[1].nmae: unknown field 'nmae'; expected one of kind, "
              "namespace, name; did you mean 'name'?"}},
        Case{
            "all_errors_at_once",
            endpoint("  ip: []\n  port: x\n") + "---\nkind: nod\n",
            {"f.yaml:4:7: spec.ip: a list where a value is needed; expected a single value",
             "f.yaml:5:9: spec.port: 'x' is not a number; expected a whole number",
             "f.yaml:7:7: kind: unknown kind 'nod'; expected " + kinds + "; did you mean 'node'?"}},
        Case{"the_same_object_twice",
             endpoint("  {ip: 10.0.0.1, port: 1}\n") + "---\n" +
                 endpoint("  {ip: 10.0.0.2, port: 1}\n"),
             {"f.yaml:7:18: metadata.name: endpoint e is given twice; first in f.yaml:2; expected "
              "one of them"}},
        Case{"tab",
             "kind: node\nmetadata:\n\tname: n\n",
             {"f.yaml:3:1: a tab in the indentation; expected spaces"}},
        Case{"not_utf8",
             "kind: node\nmetadata: {name: \"\xc3\x28\"}\n",
             {"f.yaml:2:19: byte 0xc3 is not UTF-8; expected text in UTF-8"}},
        Case{"nul",
             std::string("kind: n\0de\n", 11),
             {"f.yaml:1:8: control character 0x00; expected text in UTF-8"}},
        Case{"anchor",
             "a: &x 1\nb: *x\n",
             {"f.yaml:1:4: an anchor is not accepted here; expected the value without '&'"}},
        Case{"tag",
             "kind: !!str node\n",
             {"f.yaml:1:7: the tag tag:yaml.org,2002:str is not accepted here; expected the value "
              "without a tag"}},
        Case{"too_deep",
             [] {
               std::string text;
               for (int i = 0; i < 40; ++i)
                 text += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
               return text;
             }(),
             {"f.yaml:33:33: nested deeper than 32 levels"}},
        Case{"stray_between_documents",
             "kind: endpoint\n---\n, x]}\n",
             {"f.yaml:3:1: not valid YAML: a stray character between documents; expected an "
              "object, or '---'"}},
        Case{
            "unclosed", "kind: {node\n", {"f.yaml:2:1: not valid YAML: end of map flow not found"}},
        Case{"label_twice",
             "kind: node\nmetadata: {name: n, labels: {a: b, a: c}}\n",
             {"f.yaml:2:36: metadata.labels.a: 'a' is given twice; expected one of them"}}),
    [](const auto& info) { return info.param.name; });

TEST(YamlLimits, AHugeFileIsRefusedBeforeItIsRead) {
  EXPECT_EQ(errors_in(std::string((4u << 20) + 1, 'a')),
            std::vector<std::string>{"f.yaml: 4194305 bytes are above the limit of 4194304; "
                                     "expected smaller files, applied together"});
}

TEST(YamlLimits, TwentyErrorsAreShownAndTheRestIsCounted) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "kind: nothing\n---\n";
  const auto errors = errors_in(text);
  ASSERT_EQ(errors.size(), 21u);
  EXPECT_EQ(errors.back(), "f.yaml: 10 more errors are not shown");
}

TEST(YamlPayload, SeveralFilesKeepTheirNamesAndLines) {
  const auto files = split_payload(
      "# sluice-file: a.yaml\nkind: nod\n# sluice-file: dir/b.yaml\n\nkind: clster\n");
  ASSERT_EQ(files.size(), 2u);
  const ParsedConfig parsed = read_config(files);
  ASSERT_EQ(parsed.errors.size(), 2u);
  EXPECT_EQ(parsed.errors[0].text().substr(0, 11), "a.yaml:1:7:");
  EXPECT_EQ(parsed.errors[1].text().substr(0, 15), "dir/b.yaml:2:7:");
}

TEST(YamlPayload, AnEmptyFileAmongOthersIsNamed) {
  const ParsedConfig parsed =
      read_config(split_payload("# sluice-file: a.yaml\n# sluice-file: b.yaml\nkind: endpoint\n"));
  ASSERT_FALSE(parsed.errors.empty());
  EXPECT_EQ(parsed.errors[0].file, "a.yaml");
}

}  // namespace
}  // namespace sluice::yaml_errors_test
