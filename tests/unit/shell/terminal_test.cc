// The interactive shell on a pseudo terminal: prompt, `?`, Tab, Ctrl-C, Ctrl-D, history, colour.
// Waits for text to appear, never for time to pass.
#include <errno.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "tests/unit/shell/fake_process.h"

namespace sluice::terminal_test {
namespace {

constexpr std::chrono::seconds patience = std::chrono::seconds(20);

class Terminal : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_.path() + "/run");
    for (const char* name : {"mgmt", "dataplane"}) {
      std::map<std::string, std::string> replies;
      const auto all = nlohmann::ordered_json::parse(
          read_text(fmt::format("{}/{}.json", SHELL_GOLDEN_DIR, name)));
      for (const auto& [verb, reply] : all.items()) replies[verb] = reply.dump();
      processes_.push_back(std::make_unique<FakeProcess>(
          fmt::format("{}/run/{}.sock", directory_.path(), name), std::move(replies)));
    }
  }

  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }

  void start(const char* no_color = nullptr) {
    position_ = seen_.size();
    winsize size{};
    size.ws_row = 24;
    size.ws_col = 100;
    int terminal = -1;
    child_ = forkpty(&terminal, nullptr, nullptr, &size);
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      if (chdir(directory_.path().c_str()) != 0) _exit(126);
      setenv("HOME", directory_.path().c_str(), 1);
      setenv("TERM", "xterm", 1);
      setenv("LC_ALL", "C.UTF-8", 1);
      unsetenv("NO_COLOR");
      if (no_color != nullptr) setenv("NO_COLOR", no_color, 1);
      execl(SLUICE_BINARY, "sluice", "--run-dir", "run", nullptr);
      _exit(127);
    }
    terminal_ = Fd(terminal);
    wait_for("sluice> ");
  }

  void type(std::string_view keys) {
    ASSERT_EQ(write(terminal_.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  // Reads until `text` has appeared after what was waited for before.
  void wait_for(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (true) {
      const std::size_t found = seen_.find(text, position_);
      if (found != std::string::npos) {
        position_ = found + text.size();
        return;
      }
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << text << " did not appear: " << seen_;
      if (!read_more()) FAIL() << text << " did not appear before the end: " << seen_;
    }
  }

  int exit_code() {
    while (read_more()) {
    }
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  bool read_more() {
    pollfd item{terminal_.get(), POLLIN, 0};
    if (poll(&item, 1, 1000) <= 0) return true;
    std::array<char, 4096> buffer;
    const ssize_t got = read(terminal_.get(), buffer.data(), buffer.size());
    if (got <= 0) return false;
    seen_.append(buffer.data(), static_cast<std::size_t>(got));
    return true;
  }

  TemporaryDirectory directory_;
  std::vector<std::unique_ptr<FakeProcess>> processes_;
  pid_t child_ = -1;
  Fd terminal_;
  std::string seen_;
  std::size_t position_ = 0;
};

TEST_F(Terminal, GreetsWithTheStateOfBothProcesses) {
  start();
  EXPECT_NE(seen_.find("mgmt up, generation 12; dataplane forwarding, generation 12"),
            std::string::npos)
      << seen_;
}

TEST_F(Terminal, QuestionMarkExplainsAndKeepsTheLine) {
  start();
  type("drain endpoint ?");
  wait_for("name of the endpoint");
  wait_for("web-1");
  wait_for("sluice> drain endpoint ");
  type("web-1\n");
  wait_for("endpoint web-1 is draining");
}

TEST_F(Terminal, TabCompletesWordsAndNames) {
  start();
  type("sh\tdr\t\n");
  wait_for("drop.no_flow");
  type("show endpoints web-\t");
  wait_for("web-2");
  wait_for("sluice> show endpoints web-");
  type("3\n");
  wait_for("connection refused");
}

TEST_F(Terminal, ControlCDropsTheLineAndControlDLeaves) {
  start();
  type("show nonsense\x03");
  wait_for("^C");
  wait_for("sluice> ");
  type("show drops\n");
  wait_for("dropped since");
  EXPECT_EQ(seen_.find("not a command"), std::string::npos);
  wait_for("sluice> ");
  type("\x04");
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(Terminal, ControlCEndsAWatchAndNotTheShell) {
  start();
  type("show drops --watch 3600\n");
  wait_for("dropped since");
  type("\x03");
  wait_for("sluice> ");
  type("quit\n");
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(Terminal, ANarrowOneKeepsTheRowsOfASharedVipApart) {
  start();
  type("show vips\n");
  wait_for("VIRTUAL HOST");
  wait_for("not shown at this width");
  type("exit\n");
  EXPECT_EQ(exit_code(), 0);
  const std::size_t header = seen_.find("\x1b[1mNAME");
  EXPECT_LT(seen_.find("VIRTUAL HOST", header), seen_.find('\n', header)) << seen_;
}

TEST_F(Terminal, RemembersLinesAcrossSessions) {
  start();
  type("show neighbors\n");
  wait_for("reachable");
  type("quit\n");
  EXPECT_EQ(exit_code(), 0);
  const std::string file = directory_.path() + "/.sluice_history";
  EXPECT_NE(read_text(file).find("show"), std::string::npos);
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  start();
  type("\x10\x10\n");  // Ctrl-P twice: past quit
  wait_for("reachable");
}

TEST_F(Terminal, HeadersAreBoldUnlessNoColorIsSet) {
  start();
  type("show neighbors\n");
  wait_for("\x1b[1mADDRESS");
  type("quit\n");
  EXPECT_EQ(exit_code(), 0);
  position_ = seen_.size();
  start("1");
  type("show neighbors\n");
  wait_for("ADDRESS");
  EXPECT_EQ(seen_.find("\x1b[1mADDRESS", position_ - 20), std::string::npos);
}

}  // namespace
}  // namespace sluice::terminal_test
