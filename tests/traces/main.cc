// Each trace file is a test of its own: Trace.NAME. With file names as arguments, runs just those.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/traces/run_trace.h"

namespace {

class TraceTest : public testing::Test {
 public:
  explicit TraceTest(std::string path) : path_(std::move(path)) {}
  void TestBody() override {
    const std::string fault = sluice::trace::run_trace(path_);
    if (!fault.empty()) FAIL() << fault << "\n      replay: build/tests/traces/traces " << path_;
  }

 private:
  std::string path_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::vector<std::filesystem::path> paths(argv + 1, argv + argc);
  if (paths.empty()) {
    for (const auto& entry : std::filesystem::directory_iterator(SLUICE_TRACES)) {
      if (entry.path().extension() == ".trace") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
  }
  for (const auto& path : paths) {
    testing::RegisterTest("Trace", path.stem().c_str(), nullptr, nullptr, path.c_str(), 1,
                          [path]() -> testing::Test* { return new TraceTest(path.string()); });
  }
  return RUN_ALL_TESTS();
}
