#include "tests/unit/shell/fake_process.h"

#include <fmt/core.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "dataplane/base/assert.h"
#include "dataplane/base/json_writer.h"

namespace sluice {

FakeProcess::FakeProcess(const std::string& socket_path, std::map<std::string, std::string> replies)
    : replies_(std::move(replies)) {
  auto server = ControlServer::listen(socket_path,
                                      [this](ControlRequest& request) { return answer(request); });
  LB_ASSERT(server.has_value());
  thread_ = std::thread([this, owned = std::move(*server)]() mutable {
    while (!is_stopping_) owned.serve(Milliseconds{5});
  });
}

FakeProcess::~FakeProcess() {
  is_stopping_ = true;
  thread_.join();
}

std::string FakeProcess::answer(const ControlRequest& request) {
  const std::lock_guard lock(mutex_);
  requests_.push_back(request.encode());
  const auto found = replies_.find(request.verb);
  if (found != replies_.end()) return found->second;
  return json_error(fmt::format("'{}' is not a verb of this process", request.verb));
}

void FakeProcess::set_reply(const std::string& verb, const std::string& json) {
  const std::lock_guard lock(mutex_);
  replies_[verb] = json;
}

std::vector<std::string> FakeProcess::take_requests() {
  const std::lock_guard lock(mutex_);
  return std::exchange(requests_, {});
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "sluice-shell-XXXXXX").string();
  LB_ASSERT(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace sluice
