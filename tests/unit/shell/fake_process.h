// FakeProcess: answers on a control socket with canned JSON, in place of sluice-mgmt or
// sluice-dataplane. It listens when constructed and stops when destroyed.
// Threads: serves on a thread of its own; the methods may be called from the test's thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/control_channel.h"

namespace sluice {

class FakeProcess {
 public:
  // `replies`: verb -> JSON text. A verb without one is refused, as a real process would.
  FakeProcess(const std::string& socket_path, std::map<std::string, std::string> replies);
  ~FakeProcess();

  void set_reply(const std::string& verb, const std::string& json);
  // The requests since the last call, as they were on the wire.
  std::vector<std::string> take_requests();

 private:
  std::string answer(const ControlRequest& request);

  std::mutex mutex_;  // guards the two below
  std::map<std::string, std::string> replies_;
  std::vector<std::string> requests_;
  std::atomic<bool> is_stopping_ = false;
  std::thread thread_;
};

// A directory for one test, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_text(const std::string& path);  // "" when there is no such file
void write_text(const std::string& path, const std::string& text);

}  // namespace sluice
