// What the tests of mgmt share: configurations from text, the real NIC profiles, a folder that goes
// away, and a dataplane that is none.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mgmt/compile/compile.h"
#include "mgmt/model/objects.h"
#include "mgmt/model/profiles.h"
#include "mgmt/schema/validate.h"

namespace sluice {

// A small configuration that is valid: node lb, virtual_host web, endpoints web-1 and web-2.
std::string node_yaml();
std::string web_yaml();
inline std::string base_yaml() {
  return node_yaml() + "---\n" + web_yaml();
}
std::string replaced(std::string text, const std::string& from, const std::string& to);

// Fails the test when the text does not parse.
ObjectStore objects_from(const std::string& yaml);
const NicProfiles& real_profiles();
Findings findings_of(const std::string& yaml, std::vector<HostAddress> host = {});

// compile() with fresh ids, everything unchecked or up.
SnapshotBuffer compiled(const ObjectStore& objects, const HealthRecords& health = {},
                        const Drains& drains = {}, std::uint64_t now_unix_ms = 0);

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Answers on dataplane.sock of a run directory as the dataplane does.
class FakeDataplane {
 public:
  explicit FakeDataplane(const std::string& run_dir, std::uint64_t generation = 0);
  ~FakeDataplane();

  void refuse_with(std::string reason);  // empty: accept again
  void set_flows(std::uint32_t endpoint_id, std::uint64_t flows_active);
  std::uint64_t generation() const { return generation_.load(); }
  std::uint64_t publish_count() const { return publish_count_.load(); }
  std::vector<std::byte> last_snapshot() const;

 private:
  void run(const std::string& path);
  mutable std::mutex mutex_;
  std::string refusal_;
  std::map<std::uint32_t, std::uint64_t> flows_;
  std::vector<std::byte> snapshot_;
  std::atomic<std::uint64_t> generation_;
  std::atomic<std::uint64_t> publish_count_{0};
  std::atomic<bool> is_listening_{false};
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

// Waits for a condition, not for a time; false when it did not come true within ten seconds.
bool wait_until(const std::function<bool()>& condition);

}  // namespace sluice
