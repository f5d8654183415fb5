// The verbs of mgmt on a real state directory, with a dataplane that is none.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "dataplane/tables/snapshot.h"
#include "mgmt/server/manager.h"
#include "mgmt/server/verbs.h"
#include "tests/unit/dataplane/control_client.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::server_test {
namespace {

using nlohmann::json;

class ServerTest : public testing::Test {
 protected:
  void start() {
    std::filesystem::create_directories(run_dir());
    auto created = Manager::create({run_dir(), state_dir(), NIC_PROFILES_DIR, false});
    ASSERT_TRUE(created) << created.error().message;
    manager_ = std::move(*created);
  }
  void restart() {
    manager_.reset();
    start();
  }
  std::string run_dir() const { return folder_.path() + "/run"; }
  std::string state_dir() const { return folder_.path() + "/state"; }

  json ask(const std::string& verb, const std::string& payload = {},
           std::map<std::string, std::string> arguments = {}) {
    ControlRequest request;
    request.verb = verb;
    request.arguments = std::move(arguments);
    request.payload = payload;
    return json::parse(answer(*manager_, request, {0}, {1'000}));
  }
  std::string committed() const {
    std::ifstream stream(state_dir() + "/config/objects.yaml");
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  // Runs mgmt's loop until the condition holds.
  bool tick_until(const std::function<bool()>& condition) {
    std::uint64_t now_ms = 1'000;
    return wait_until([&] {
      manager_->tick({now_ms += 10});
      return condition();
    });
  }
  static json row(const json& rows, const std::string& name) {
    for (const json& item : rows) {
      if (item["name"] == name) return item;
    }
    return {};
  }

  TemporaryFolder folder_;
  std::unique_ptr<Manager> manager_;
};

TEST_F(ServerTest, ApplyCommitsPublishesAndReports) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  const json reply = ask("apply", base_yaml());
  ASSERT_TRUE(reply["ok"]) << reply.dump(1);
  EXPECT_EQ(reply["generation"], 1);
  EXPECT_EQ(reply["changes"].size(), 7u);
  EXPECT_EQ(reply["changes"][0]["action"], "add");
  EXPECT_EQ(reply["warnings"], json::array());
  EXPECT_EQ(dataplane.generation(), 1u) << "apply returns when the dataplane has acknowledged";
  EXPECT_NE(committed().find("name: web-2"), std::string::npos);
  const json again = ask("apply", base_yaml());
  EXPECT_EQ(again["generation"], 1) << "nothing changed, nothing is published";
  EXPECT_EQ(again["changes"][0]["action"], "unchanged");
  EXPECT_EQ(dataplane.publish_count(), 1u);
}

TEST_F(ServerTest, ApplyWithoutADataplaneIsCommittedAndSaysSo) {
  start();
  const json reply = ask("apply", base_yaml());
  ASSERT_TRUE(reply["ok"]) << reply.dump(1);
  ASSERT_EQ(reply["warnings"].size(), 1u);
  EXPECT_NE(reply["warnings"][0].get<std::string>().find("the dataplane is not running"),
            std::string::npos);
  const json again = ask("apply", base_yaml());
  EXPECT_NE(again["warnings"].dump().find("the dataplane is not running"), std::string::npos)
      << "nothing changes, and nothing is forwarded either";
  FakeDataplane dataplane(run_dir());
  EXPECT_TRUE(wait_until([&] { return dataplane.generation() == 1; }));
}

TEST_F(ServerTest, ErrorsNameFileLineAndWhatWasMeantAndChangeNothing) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const std::string before = committed();
  const json reply = ask("apply",
                         "# sluice-file: web.yaml\nkind: cluster\nmetadata: {name: c}\nspec:\n  "
                         "endpoints:\n    - name: web-11\n  health_checks: [{name: x}]\n");
  EXPECT_FALSE(reply["ok"]);
  EXPECT_EQ(reply["error"], "2 errors");
  EXPECT_EQ(
      reply["errors"][0]["text"],
      "web.yaml:5:13: spec.endpoints[0].name: cluster c refers to endpoint web-11, which "
      "does not exist; expected one of the endpoint objects: web-1, web-2; did you mean 'web-1'?");
  EXPECT_EQ(reply["errors"][0]["line"], 5);
  EXPECT_EQ(committed(), before);
  EXPECT_EQ(ask("status")["generation"], 1);
}

TEST_F(ServerTest, WhatIsInUseIsNotDeletedAndItsUserIsNamed) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const json reply = ask("delete", "", {{"kind", "endpoint"}, {"name", "web-1"}});
  EXPECT_FALSE(reply["ok"]);
  EXPECT_EQ(reply["error"],
            "endpoint web-1 is in use: cluster web refers to it (spec.endpoints[0].name); expected that cluster web is "
            "changed or deleted first");
}

TEST_F(ServerTest, AClashIsShownWhereTheOperatorWroteIt) {
  start();
  std::string second = replaced(web_yaml(), "port: 80}", "port: 81}");
  for (const std::string kind : {"virtual_host", "advertise_policy"}) {
    second = replaced(second, kind + "\nmetadata: {name: web}", kind + "\nmetadata: {name: web2}");
  }
  second = replaced(second, "advertise_policies: [{name: web}]", "advertise_policies: [{name: web2}]");
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const json added = ask("apply", second);
  ASSERT_TRUE(added["ok"]) << added.dump(1);
  const json reply = ask("apply",
                         "# sluice-file: p.yaml\nkind: advertise_policy\nmetadata: {name: web2}\n"
                         "spec: {address: 10.9.0.1, protocol: TCP, port: 80}\n");
  ASSERT_EQ(reply["errors"].size(), 1u);
  EXPECT_EQ(reply["errors"][0]["file"], "p.yaml") << reply.dump(1);
  EXPECT_EQ(reply["errors"][0]["line"], 3);
  EXPECT_EQ(reply["errors"][0]["path"], "spec.address");
}

TEST_F(ServerTest, AnErrorInWhatIsAlreadyCommittedIsNamedAsSuch) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const json reply = ask("apply", replaced(node_yaml(), "name: inside, addresses", "name: outside, addresses"));
  ASSERT_EQ(reply["errors"].size(), 1u) << reply.dump(1);
  EXPECT_EQ(reply["errors"][0]["text"],
            "committed configuration: cluster web: spec.sluice.snat_pool: the node has no SNAT pool 'inside'; expected one "
            "of outside");
}

TEST_F(ServerTest, DiffShowsLinesAndConsequencesAndChangesNothing) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  dataplane.set_flows(*manager_->ids().endpoints.find("default/web 10.2.0.11:8080/tcp"), 37);
  const json reply =
      ask("diff", replaced(web_yaml(), "{name: web-1}, {name: web-2}", "{name: web-2}"));
  ASSERT_TRUE(reply["ok"]) << reply.dump(1);
  const json cluster = row(reply["changes"], "web");
  std::string lines;
  for (const json& change : reply["changes"]) {
    if (change["kind"] == "cluster") lines = change["lines"].dump();
  }
  EXPECT_NE(lines.find("\"-    - name: web-1\""), std::string::npos) << lines;
  EXPECT_NE(reply["consequences"].dump().find("endpoint web-1 leaves cluster web; it has 37 flows"),
            std::string::npos)
      << reply["consequences"].dump();
  EXPECT_NE(reply["consequences"].dump().find("% of the slot table"), std::string::npos);
  EXPECT_EQ(ask("status")["generation"], 1);
  EXPECT_EQ(dataplane.publish_count(), 1u);
}

TEST_F(ServerTest, ReplaceMakesThePayloadEverything) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const json reply = ask("apply", node_yaml(), {{"replace", "1"}});
  ASSERT_TRUE(reply["ok"]) << reply.dump(1);
  EXPECT_EQ(manager_->objects().size(), 1u);
  EXPECT_EQ(reply["consequences"][0], "VIP 10.9.0.1:80/tcp is removed");
}

TEST_F(ServerTest, DryRunChangesNothing) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml(), {{"dry_run", "1"}})["ok"]);
  EXPECT_TRUE(manager_->objects().empty());
  EXPECT_FALSE(std::filesystem::exists(state_dir() + "/config/objects.yaml"));
}

TEST_F(ServerTest, ARefusalOfTheDataplaneTakesTheCommitBack) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const std::string before = committed();
  dataplane.refuse_with("no");
  const json reply = ask("apply", replaced(web_yaml(), "port: 80}", "port: 81}"));
  EXPECT_FALSE(reply["ok"]);
  EXPECT_EQ(reply["errors"][0]["message"],
            "the dataplane refused this configuration: no; nothing was changed");
  EXPECT_EQ(committed(), before);
  EXPECT_EQ(ask("virtual-hosts")["virtual_hosts"][0]["vips"][0], "10.9.0.1:80/tcp");
  dataplane.refuse_with("");
  ASSERT_TRUE(ask("apply", replaced(web_yaml(), "port: 80}", "port: 81}"))["ok"]);
  EXPECT_GT(dataplane.generation(), 1u);
}

TEST_F(ServerTest, ADiskThatRefusesTakesTheCommitBack) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  std::filesystem::create_directory(state_dir() + "/config/objects.yaml.new");
  const json reply = ask("apply", replaced(web_yaml(), "port: 80}", "port: 81}"));
  EXPECT_FALSE(reply["ok"]);
  EXPECT_NE(reply["errors"][0]["message"].get<std::string>().find("nothing was changed"),
            std::string::npos);
  EXPECT_EQ(ask("virtual-hosts")["virtual_hosts"][0]["vips"][0], "10.9.0.1:80/tcp");
  std::filesystem::remove(state_dir() + "/config/objects.yaml.new");
  EXPECT_TRUE(ask("apply", replaced(web_yaml(), "port: 80}", "port: 81}"))["ok"]);
}

TEST_F(ServerTest, EverythingIsThereAfterARestartAndNothingIsPublishedAgain) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  ASSERT_TRUE(ask("drain", "", {{"name", "web-1"}})["ok"]);
  const std::uint64_t generation = dataplane.generation();
  const json before = ask("config")["objects"];
  restart();
  EXPECT_EQ(ask("config")["objects"], before);
  EXPECT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  EXPECT_EQ(manager_->generation(), generation);
  EXPECT_EQ(dataplane.publish_count(), 2u);
  EXPECT_TRUE(row(ask("endpoints")["endpoints"], "web-1")["draining"]);
}

TEST_F(ServerTest, ALostStateDirectoryGoesAboveTheDataplane) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir(), 70);
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  EXPECT_TRUE(tick_until([&] { return dataplane.generation() > 70; }));
  EXPECT_EQ(manager_->generation(), dataplane.generation());
}

TEST_F(ServerTest, DrainAndUndrain) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  dataplane.set_flows(*manager_->ids().endpoints.find("default/web 10.2.0.12:8080/tcp"), 5);
  json reply = ask("drain", "", {{"name", "web-2"}});
  ASSERT_TRUE(reply["ok"]) << reply.dump();
  EXPECT_EQ(reply["changed"], true);
  EXPECT_EQ(reply["flows_active"], 5);
  auto bytes = dataplane.last_snapshot();
  SnapshotBuffer copy(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.bytes().begin());
  const auto snapshot = Snapshot::verify(copy.bytes());
  ASSERT_TRUE(snapshot);
  for (const std::uint16_t slot : snapshot->slots_of(snapshot->clusters()[0])) ASSERT_EQ(slot, 0);
  EXPECT_EQ(ask("clusters")["clusters"][0]["endpoints_draining"], 1);
  EXPECT_EQ(ask("drain", "", {{"name", "web-2"}})["changed"], false);
  EXPECT_EQ(ask("undrain", "", {{"name", "web-2"}})["changed"], true);
  reply = ask("drain", "", {{"name", "web-22"}});
  EXPECT_FALSE(reply["ok"]);
  EXPECT_EQ(reply["error"], "there is no endpoint web-22; did you mean 'web-2'?");
}

TEST_F(ServerTest, WhoDrainsTheLastEndpointIsToldAndTheVirtualHostIsNotReady) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const auto host = [&] { return ask("virtual-hosts")["virtual_hosts"][0]; };
  const auto warnings = [](const json& reply) { return reply["warnings"].dump(); };
  EXPECT_EQ(warnings(ask("drain", "", {{"name", "web-1"}})).find("no endpoint left"), std::string::npos);
  EXPECT_EQ(host()["state"], "ready");
  EXPECT_EQ(host()["endpoints_up"], 1);
  EXPECT_EQ(host()["endpoints_draining"], 1);
  EXPECT_NE(warnings(ask("drain", "", {{"name", "web-2"}}))
                .find("cluster web has no endpoint left that takes new flows: virtual host web refuses new connections"),
            std::string::npos);
  EXPECT_EQ(host()["state"], "drained");
  EXPECT_EQ(host()["endpoints_up"], 0);
  EXPECT_EQ(warnings(ask("undrain", "", {{"name", "web-2"}})).find("no endpoint left"), std::string::npos);
  EXPECT_EQ(host()["state"], "ready");
}

TEST_F(ServerTest, ByWhichServerNamesAVirtualHostIsChosen) {
  start();
  std::string yaml = replaced(base_yaml(), "proxy: TCP_PROXY",
                              "proxy: TCP_PROXY_WITH_SNI\n  domains: [www.example.com]\n  default_loadbalancer: {}\n"
                              "  sluice: {domain_regexes: ['api[0-9]+']}");
  yaml = replaced(yaml, "forwarding: FULL_NAT", "forwarding: SPLICE");
  const json applied = ask("apply", yaml);
  ASSERT_TRUE(applied["ok"]) << applied.dump(1);
  const json host = ask("virtual-hosts")["virtual_hosts"][0];
  EXPECT_EQ(host["domains"], json::array({"www.example.com"}));
  EXPECT_EQ(host["domain_regexes"], json::array({"api[0-9]+"}));
  EXPECT_EQ(host["default_loadbalancer"], true);
}

TEST_F(ServerTest, HowLongADrainedEndpointKeepsItsFlows) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  EXPECT_TRUE(ask("drain", "", {{"name", "web-1"}})["drain_left_ms"].is_null()) << "as long as they like";
  ASSERT_TRUE(ask("apply", replaced(base_yaml(), "snat_pool: inside}", "snat_pool: inside, drain_timeout: 1h}"))["ok"]);
  const json reply = ask("drain", "", {{"name", "web-1"}});
  EXPECT_GT(reply["drain_left_ms"], 3'500'000);
  const json endpoints = ask("endpoints")["endpoints"];
  EXPECT_GT(row(endpoints, "web-1")["drain_left_ms"], 3'500'000);
  EXPECT_TRUE(row(endpoints, "web-2")["drain_left_ms"].is_null());
}

TEST_F(ServerTest, ADrainDeadlineIsPublishedWhenItPasses) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", replaced(base_yaml(), "snat_pool: inside}",
                                    "snat_pool: inside, drain_timeout: 1s}"))["ok"]);
  ASSERT_TRUE(ask("drain", "", {{"name", "web-1"}})["ok"]);
  EXPECT_TRUE(tick_until([&] { return dataplane.publish_count() == 3; }));
}

TEST_F(ServerTest, HealthVerdictsReachTheTables) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  // Nothing listens on port 1 of this machine's own addresses.
  std::string yaml = replaced(base_yaml(), "  sluice: {algorithm: MAGLEV",
                              "  health_checks: [{name: tcp}]\n  sluice: {algorithm: MAGLEV");
  yaml +=
      "---\nkind: healthcheck\nmetadata: {name: tcp}\nspec: {tcp_health_check: {}, interval: 1, "
      "timeout: 1, unhealthy_threshold: 1}\n";
  yaml = replaced(yaml, "{ip: 10.2.0.11, port: 8080, ",
                  "{ip: 192.0.2.1, port: 8080, health_check_port: 1, ");
  ASSERT_TRUE(ask("apply", yaml)["ok"]);
  json reply = ask("virtual-hosts")["virtual_hosts"][0];
  EXPECT_EQ(reply["state"], "pending");
  EXPECT_TRUE(tick_until(
      [&] { return row(ask("endpoints")["endpoints"], "web-1")["health"] != "unknown"; }));
  EXPECT_TRUE(tick_until([&] {
    return dataplane.generation() > 1 &&
           manager_->publish_status().acknowledged_generation == manager_->generation();
  }));
  EXPECT_LE(dataplane.publish_count(), 4u);
}

TEST_F(ServerTest, CountersAreNullWithoutADataplane) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const json reply = ask("endpoints");
  EXPECT_TRUE(reply["endpoints"][0]["flows_active"].is_null());
  EXPECT_NE(reply["dataplane_error"].get<std::string>().find("not running"), std::string::npos);
  EXPECT_EQ(reply["endpoints"][0]["health"], "unchecked");
}

TEST_F(ServerTest, UnknownVerbsAndKinds) {
  start();
  EXPECT_EQ(ask("statuss")["error"], "mgmt has no verb 'statuss'; did you mean 'status'?");
  EXPECT_NE(
      ask("delete", "", {{"kind", "clutser"}, {"name", "x"}})["error"].get<std::string>().find(
          "did you mean 'cluster'?"),
      std::string::npos);
  EXPECT_EQ(ask("delete", "", {{"kind", "cluster"}, {"name", "x"}})["error"],
            "there is no cluster x");
}

TEST_F(ServerTest, ADamagedCommittedConfigurationIsRefusedByName) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  manager_.reset();
  std::ofstream(state_dir() + "/config/objects.yaml") << "kind: nod\n";
  const auto created = Manager::create({run_dir(), state_dir(), NIC_PROFILES_DIR, false});
  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message.find(
                "config/objects.yaml: the committed configuration is not accepted"),
            std::string::npos);
}

TEST_F(ServerTest, DamagedIdsAreLeftBehind) {
  start();
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  manager_.reset();
  std::ofstream(state_dir() + "/ids") << "sluice ids 1\ngarbage\n";
  start();
  EXPECT_EQ(ask("status")["objects"]["endpoint"], 2);
}

TEST_F(ServerTest, TheNodeCannotBeTakenAway) {
  start();
  ASSERT_TRUE(ask("apply", node_yaml())["ok"]);
  const json reply = ask("delete", "", {{"kind", "node"}, {"name", "lb"}});
  EXPECT_FALSE(reply["ok"]);
  EXPECT_NE(reply["error"].get<std::string>().find("this would remove the node"),
            std::string::npos);
  EXPECT_EQ(ask("status")["objects"]["node"], 1);
}

// The tables that the dataplane took last.
class Tables {
 public:
  explicit Tables(const FakeDataplane& dataplane) : copy_(dataplane.last_snapshot().size()) {
    const auto bytes = dataplane.last_snapshot();
    std::copy(bytes.begin(), bytes.end(), copy_.bytes().begin());
  }
  EndpointState state(std::size_t endpoint) const {
    return Snapshot::verify(copy_.bytes())->endpoints()[endpoint].state;
  }

 private:
  SnapshotBuffer copy_;
};

const std::string check_yaml =
    "---\nkind: healthcheck\nmetadata: {name: tcp}\n"
    "spec: {tcp_health_check: {}, interval: 600, timeout: 600}\n";

TEST_F(ServerTest, ToAddACheckStopsNoTraffic) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  const std::string checked = replaced(base_yaml(), "  sluice: {algorithm",
                                       "  health_checks: [{name: tcp}]\n  sluice: {algorithm");
  ASSERT_TRUE(ask("apply", checked + check_yaml)["ok"]);
  EXPECT_EQ(Tables(dataplane).state(0), EndpointState::up);
  // Another address is another endpoint: nothing is known of it.
  ASSERT_TRUE(ask("apply", replaced(web_yaml(), "ip: 10.2.0.11", "ip: 10.2.0.77"))["ok"]);
  ASSERT_TRUE(ask("apply", replaced(checked, "ip: 10.2.0.11", "ip: 10.2.0.78") + check_yaml)["ok"]);
  EXPECT_EQ(Tables(dataplane).state(0), EndpointState::unknown);
  EXPECT_EQ(Tables(dataplane).state(1), EndpointState::up);
}

TEST_F(ServerTest, AnEndpointThatMovesIsUnknownInTheSameStep) {
  std::filesystem::create_directories(run_dir());
  FakeDataplane dataplane(run_dir());
  start();
  ASSERT_TRUE(wait_until([&] { return manager_->publish_status().is_connected; }));
  const std::string checked = replaced(base_yaml(), "  sluice: {algorithm",
                                       "  health_checks: [{name: tcp}]\n  sluice: {algorithm") +
                              check_yaml;
  ASSERT_TRUE(ask("apply", base_yaml())["ok"]);
  ASSERT_TRUE(ask("apply", checked)["ok"]);
  ASSERT_EQ(Tables(dataplane).state(0), EndpointState::up);
  ASSERT_TRUE(ask("apply", replaced(checked, "ip: 10.2.0.11", "ip: 10.2.0.78"))["ok"]);
  EXPECT_EQ(Tables(dataplane).state(0), EndpointState::unknown);
}

TEST_F(ServerTest, SilentPeersKeepNobodyOut) {
  start();
  const std::string path = run_dir() + "/mgmt.sock";
  auto server = ControlServer::listen(
      path, [&](ControlRequest& request) { return answer(*manager_, request, {0}, {1'000}); });
  ASSERT_TRUE(server);
  std::atomic<bool> is_done{false};
  std::thread client([&] {
    std::vector<Fd> silent;
    for (int i = 0; i < 200; ++i) {
      Fd peer = test::connect_control(path);
      EXPECT_TRUE(peer) << i;
      EXPECT_EQ(send(peer.get(), "SLU1", 4, MSG_NOSIGNAL), 4);
      silent.push_back(std::move(peer));
    }
    for (int i = 0; i < 3; ++i) {
      const auto reply = call(path, {"status", {}, {}, Fd()});
      EXPECT_TRUE(reply && json::parse(*reply)["ok"] == true)
          << (reply ? *reply : reply.error().message);
    }
    is_done = true;
  });
  while (!is_done) server->serve({20});
  client.join();
}

TEST_F(ServerTest, TheExampleConfigurationIsAccepted) {
  start();
  std::string payload;
  for (const auto& entry : std::filesystem::directory_iterator(EXAMPLE_DIR)) {
    if (entry.path().extension() != ".yaml") continue;
    std::ifstream stream(entry.path());
    std::stringstream text;
    text << stream.rdbuf();
    payload += "# sluice-file: " + entry.path().filename().string() + "\n" + text.str() + "\n";
  }
  const json reply = ask("apply", payload);
  EXPECT_TRUE(reply["ok"]) << reply.dump(1);
}

}  // namespace
}  // namespace sluice::server_test
