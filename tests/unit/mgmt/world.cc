#include "tests/unit/mgmt/world.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/json_writer.h"
#include "mgmt/text/config_reader.h"
#include "mgmt/text/profile_reader.h"

namespace sluice {

std::string node_yaml() {
  return R"(kind: node
metadata: {name: lb}
spec:
  workers: [0, 1]
  ports:
    - {name: outside, profile: af_xdp, device: veth-out, addresses: ["10.1.0.1/24", "fd00:1::1/64"]}
    - {name: inside, profile: af_xdp, device: veth-in, addresses: ["10.2.0.1/24", "fd00:2::1/64"]}
  routes:
    - {prefix: "0.0.0.0/0", next_hop: 10.1.0.254}
  snat_pools:
    - {name: inside, addresses: ["10.2.0.100", "fd00:2::100"]}
)";
}

std::string web_yaml() {
  return R"(kind: virtual_host
metadata: {name: web}
spec:
  proxy: TCP_PROXY
  advertise_policies: [{name: web}]
  routes: [{name: web}]
---
kind: advertise_policy
metadata: {name: web}
spec: {address: 10.9.0.1, protocol: TCP, port: 80}
---
kind: route
metadata: {name: web}
spec:
  routes:
    - route_destination: {destinations: [{cluster: [{name: web}], weight: 1}]}
---
kind: cluster
metadata: {name: web}
spec:
  endpoints: [{name: web-1}, {name: web-2}]
  sluice: {algorithm: MAGLEV, forwarding: FULL_NAT, snat_pool: inside}
---
kind: endpoint
metadata: {name: web-1}
spec: {ip: 10.2.0.11, port: 8080, protocol: TCP}
---
kind: endpoint
metadata: {name: web-2}
spec: {ip: 10.2.0.12, port: 8080, protocol: TCP}
)";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "the test replaces what is not there: " << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

ObjectStore objects_from(const std::string& yaml) {
  const std::vector<SourceFile> files = {{"test.yaml", yaml}};
  const ParsedConfig parsed = read_config(files);
  for (const ConfigError& error : parsed.errors) ADD_FAILURE() << error.text();
  ObjectStore objects;
  for (const ParsedObject& object : parsed.objects) objects.put(object.object);
  return objects;
}

const NicProfiles& real_profiles() {
  static const ProfileFolder folder = read_profiles(NIC_PROFILES_DIR);
  for (const ConfigError& error : folder.errors) ADD_FAILURE() << error.text();
  return folder.profiles;
}

Findings findings_of(const std::string& yaml, std::vector<HostAddress> host) {
  return validate(objects_from(yaml), {real_profiles(), std::move(host)});
}

SnapshotBuffer compiled(const ObjectStore& objects, const HealthRecords& health,
                        const Drains& drains, std::uint64_t now_unix_ms) {
  IdMap ids;
  EXPECT_TRUE(ids.cover(objects));
  auto built = compile({objects, real_profiles(), health, drains, ids, 1, now_unix_ms});
  if (!built) ADD_FAILURE() << built.error().message;
  return built ? std::move(*built) : SnapshotBuffer(0);
}

TemporaryFolder::TemporaryFolder() {
  std::string name = std::filesystem::temp_directory_path() / "sluice-mgmt-test-XXXXXX";
  path_ = mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::filesystem::remove_all(path_);
}

FakeDataplane::FakeDataplane(const std::string& run_dir, std::uint64_t generation)
    : generation_(generation) {
  thread_ = std::thread([this, path = run_dir + "/dataplane.sock"] { run(path); });
  EXPECT_TRUE(wait_until([&] { return is_listening_.load(); }));
}

FakeDataplane::~FakeDataplane() {
  is_stopping_ = true;
  thread_.join();
}

void FakeDataplane::refuse_with(std::string reason) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(reason);
}

void FakeDataplane::set_flows(std::uint32_t endpoint_id, std::uint64_t flows_active) {
  const std::lock_guard lock(mutex_);
  flows_[endpoint_id] = flows_active;
}

std::vector<std::byte> FakeDataplane::last_snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

void FakeDataplane::run(const std::string& path) {
  auto server = ControlServer::listen(path, [this](ControlRequest& request) -> std::string {
    const std::lock_guard lock(mutex_);
    JsonWriter json;
    if (request.verb == "status") {
      json.open_object().field("ok", true).field("generation", generation_.load());
      json.key("restart_required").open_array().close_array().close_object();
      return json.text();
    }
    if (request.verb == "vips") {
      json.open_object().field("ok", true).key("vips").open_array().close_array().close_object();
      return json.text();
    }
    if (request.verb == "endpoints") {
      json.open_object().field("ok", true).key("endpoints").open_array();
      for (const auto& [id, flows] : flows_) {
        json.open_object().field("id", id).field("flows_active", flows).close_object();
      }
      json.close_array().close_object();
      return json.text();
    }
    if (request.verb != "publish") return json_error("no such verb");
    ++publish_count_;
    if (!refusal_.empty()) return json_error(refusal_);
    struct stat info {};
    if (fstat(request.attached.get(), &info) != 0) return json_error("no descriptor");
    SnapshotBuffer copy(static_cast<std::size_t>(info.st_size));
    if (pread(request.attached.get(), copy.bytes().data(), copy.bytes().size(), 0) != info.st_size)
      return json_error("short");
    const auto snapshot = Snapshot::verify(copy.bytes());
    if (!snapshot) return json_error(snapshot.error().message);
    generation_ = snapshot->generation();
    snapshot_.assign(copy.bytes().begin(), copy.bytes().end());
    json.open_object().field("ok", true).field("generation", generation_.load()).close_object();
    return json.text();
  });
  ASSERT_TRUE(server) << server.error().message;
  is_listening_ = true;
  while (!is_stopping_) server->serve({20});
}

bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    poll(nullptr, 0, 2);
  }
  return true;
}

}  // namespace sluice
