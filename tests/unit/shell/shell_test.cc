// Shell and Peers in process: repetition, scripts, and processes that are there but do not answer.
#include "mgmt/shell/shell.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "mgmt/shell/commands.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"
#include "tests/unit/shell/fake_process.h"

namespace sluice::shell_test {
namespace {

constexpr const char* one_drop =
    R"({"ok":true,"drops":[{"name":"drop.no_flow","packets":1,"help":"","lcores":[1]}]})";

class ShellTest : public ::testing::Test {
 protected:
  Shell shell(std::function<bool(Milliseconds)> pause = [](Milliseconds) { return false; }) {
    return Shell({peers_, grammar_, console_, std::move(pause)});
  }
  std::string socket_path(const char* process) const {
    return directory_.path() + "/" + process + ".sock";
  }

  TemporaryDirectory directory_;
  Peers peers_{directory_.path()};
  Grammar grammar_{all_commands(), interactive_options(), true};
  std::string out_, err_;
  Console console_{[this](std::string_view text) { out_ += text; },
                   [this](std::string_view text) { err_ += text; }, TextStyle{}};
};

TEST_F(ShellTest, WatchRepeatsUntilInterrupted) {
  FakeProcess dataplane(socket_path("dataplane"), {{"drops", one_drop}});
  std::vector<std::uint64_t> pauses;
  Shell tested = shell([&](Milliseconds interval) {
    pauses.push_back(interval.count);
    return pauses.size() < 3;
  });
  EXPECT_EQ(tested.run_line("show drops --watch 0.5"), exit_ok);
  EXPECT_EQ(pauses, (std::vector<std::uint64_t>{500, 500, 500}));
  EXPECT_EQ(dataplane.take_requests().size(), 3u);
}

TEST_F(ShellTest, WatchGoesOnWhileTheProcessIsAway) {
  std::unique_ptr<FakeProcess> dataplane;
  Shell tested = shell([&](Milliseconds) {
    if (dataplane) return false;
    dataplane = std::make_unique<FakeProcess>(
        socket_path("dataplane"), std::map<std::string, std::string>{{"drops", one_drop}});
    return true;
  });
  EXPECT_EQ(tested.run_line("show drops --watch 1"), exit_ok);
  EXPECT_NE(err_.find("it is not running"), std::string::npos);
  EXPECT_NE(out_.find("drop.no_flow"), std::string::npos);
}

TEST_F(ShellTest, AWatchedAnswerInJsonIsOneObjectARound) {
  FakeProcess dataplane(socket_path("dataplane"), {{"drops", one_drop}});
  int rounds = 0;
  Shell tested = shell([&](Milliseconds) { return ++rounds < 2; });
  tested.run_line("show drops --watch 1 --json");
  const std::size_t half = out_.size() / 2;
  EXPECT_EQ(out_.substr(0, half), out_.substr(half));
  EXPECT_TRUE(Json::accept(out_.substr(0, half)));
}

TEST_F(ShellTest, ASocketLeftByAKilledProcessIsNobody) {
  // Bound and closed without unlink: what kill -9 leaves.
  const Fd left(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path("mgmt").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(left.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(shell().run_line("show clusters"), exit_no_answer);
  EXPECT_NE(err_.find("mgmt.sock: it is not running."), std::string::npos) << err_;
}

TEST_F(ShellTest, AFrozenProcessIsToldFromOneThatIsAbsent) {
  const auto frozen = ControlServer::listen(socket_path("dataplane"), nullptr);  // never served
  ASSERT_TRUE(frozen.has_value());
  ControlRequest request;
  request.verb = "status";
  const auto reply = peers_.ask(Process::dataplane, request, Milliseconds{1});
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, AskError::Kind::no_answer);
  EXPECT_EQ(reply.error().reason, "no answer within 1 ms; the process is stopped or overloaded");
  EXPECT_NE(reply.error().message.find("Look at the log of sluice-dataplane, or restart it."),
            std::string::npos);
}

TEST_F(ShellTest, AScriptStopsAtTheFirstFailureAndReturnsItsCode) {
  FakeProcess dataplane(socket_path("dataplane"), {{"drops", one_drop}});
  std::vector<std::string> lines = {"# comment", "show drops", "show clusters", "show drops"};
  std::size_t next = 0;
  EXPECT_EQ(shell().run_script([&]() -> std::optional<std::string> { return lines[next++]; }),
            exit_no_answer);
  EXPECT_EQ(next, 3u);
}

}  // namespace
}  // namespace sluice::shell_test
