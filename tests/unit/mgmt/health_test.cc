// Health: the state machine in virtual time, and the prober against real sockets of this machine.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <thread>

#include "dataplane/base/control_channel.h"
#include "mgmt/health/health_state.h"
#include "mgmt/health/prober.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::health_test {
namespace {

const HealthPolicy three_down_two_up{{1'000}, {500}, 2, 3, 10};

TEST(HealthState, TheFirstSuccessAtStartIsEnough) {
  HealthState state;
  EXPECT_EQ(state.verdict(), HealthVerdict::unknown);
  EXPECT_TRUE(state.on_success(three_down_two_up));
  EXPECT_EQ(state.verdict(), HealthVerdict::up);
  EXPECT_FALSE(state.on_success(three_down_two_up));
}

TEST(HealthState, DownAfterFailuresInARowAndWithTheLastReason) {
  HealthState state(HealthVerdict::up);
  EXPECT_FALSE(state.on_failure(three_down_two_up, "a"));
  EXPECT_FALSE(state.on_failure(three_down_two_up, "b"));
  EXPECT_FALSE(state.on_success(three_down_two_up));
  EXPECT_FALSE(state.on_failure(three_down_two_up, "c"));
  EXPECT_FALSE(state.on_failure(three_down_two_up, "d"));
  EXPECT_TRUE(state.on_failure(three_down_two_up, "e"));
  EXPECT_EQ(state.verdict(), HealthVerdict::down);
  EXPECT_EQ(state.reason(), "e");
}

TEST(HealthState, UpAgainAfterSuccessesInARow) {
  HealthState state(HealthVerdict::down, "gone");
  EXPECT_FALSE(state.on_success(three_down_two_up));
  EXPECT_FALSE(state.on_failure(three_down_two_up, "again"));
  EXPECT_FALSE(state.on_success(three_down_two_up));
  EXPECT_TRUE(state.on_success(three_down_two_up));
  EXPECT_EQ(state.verdict(), HealthVerdict::up);
  EXPECT_EQ(state.reason(), "");
}

TEST(HealthState, UnknownNeedsAsManyFailuresToBeDown) {
  HealthState state;
  EXPECT_FALSE(state.on_failure(three_down_two_up, "x"));
  EXPECT_FALSE(state.on_failure(three_down_two_up, "x"));
  EXPECT_EQ(state.verdict(), HealthVerdict::unknown);
  EXPECT_TRUE(state.on_failure(three_down_two_up, "x"));
}

TEST(HealthState, AFlappingEndpointChangesSeldom) {
  HealthState state(HealthVerdict::up);
  int changes = 0;
  for (int i = 0; i < 300; ++i)
    changes += (i % 2 == 0 ? state.on_failure(three_down_two_up, "x")
                           : state.on_success(three_down_two_up))
                   ? 1
                   : 0;
  EXPECT_EQ(changes, 0);
}

TEST(HealthState, JitterStaysInItsShareOfTheInterval) {
  std::uint64_t least = ~0ull;
  std::uint64_t most = 0;
  for (std::uint64_t chance = 0; chance < 1000; ++chance) {
    const Instant due = next_probe(three_down_two_up, {5'000}, chance);
    least = std::min(least, due.ms);
    most = std::max(most, due.ms);
  }
  EXPECT_EQ(least, 5'900u);
  EXPECT_EQ(most, 6'100u);
  EXPECT_EQ(next_probe({{1'000}, {500}, 1, 1, 0}, {5'000}, 77).ms, 6'000u);
}

// A TCP server on 127.0.0.1 that answers each connection in its own way.
class Server {
 public:
  explicit Server(std::string answer = {})
      : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 64), 0);
    socklen_t bytes = sizeof address;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (true) {
        const Fd peer(accept(listener_.get(), nullptr, nullptr));
        if (!peer) return;
        ++accepted_;
        char request[16];
        if (!answer_.empty() && recv(peer.get(), request, sizeof request, 0) > 0) {
          send(peer.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
        }
      }
    });
  }
  ~Server() { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    listener_ = Fd();
  }
  std::uint16_t port() const { return port_; }
  int accepted() const { return accepted_.load(); }

 private:
  std::string answer_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::thread thread_;
};

class Reports {
 public:
  Prober::Report sink() {
    return [this](const HealthTarget& target, const HealthRecord& record) {
      const std::lock_guard lock(mutex_);
      last_[target.endpoint.name] = record;
      ++count_;
    };
  }
  HealthRecord of(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = last_.find(name);
    return found == last_.end() ? HealthRecord() : found->second;
  }
  int count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, HealthRecord> last_;
  int count_ = 0;
};

ProbeSpec probe(const std::string& name, std::uint16_t port) {
  ProbeSpec spec;
  spec.target = {{"endpoint", "default", name}, {"healthcheck", "default", "tcp"}};
  spec.address = *IpAddress::parse("127.0.0.1");
  spec.port = port;
  spec.policy = {{20}, {200}, 1, 2, 10};
  return spec;
}

TEST(ProberTest, FindsAnEndpointUpAndLaterDownWithTheReason) {
  Server server;
  Reports reports;
  auto prober = Prober::create(reports.sink());
  ASSERT_TRUE(prober);
  prober->set_targets({probe("a", server.port())}, {});
  EXPECT_TRUE(wait_until([&] { return reports.of("a").verdict == HealthVerdict::up; }));
  const std::string place = "127.0.0.1:" + std::to_string(server.port());
  server.stop();
  EXPECT_TRUE(wait_until([&] { return reports.of("a").verdict == HealthVerdict::down; }));
  EXPECT_EQ(reports.of("a").reason, "connecting to " + place + ": Connection refused");
}

TEST(ProberTest, ComparesTheAnswer) {
  Server right("PONG and more");
  Server wrong("NOPE");
  Server silent;
  Reports reports;
  auto prober = Prober::create(reports.sink());
  ASSERT_TRUE(prober);
  std::vector<ProbeSpec> specs = {probe("right", right.port()), probe("wrong", wrong.port()),
                                  probe("silent", silent.port())};
  for (ProbeSpec& spec : specs) {
    spec.send_payload = "PING";
    spec.expected_response = "PONG";
  }
  prober->set_targets(specs, {});
  EXPECT_TRUE(wait_until([&] {
    return reports.of("right").verdict == HealthVerdict::up &&
           reports.of("wrong").verdict == HealthVerdict::down &&
           reports.of("silent").verdict == HealthVerdict::down;
  }));
  EXPECT_NE(reports.of("wrong").reason.find("does not begin with the expected bytes"),
            std::string::npos);
}

// A server that greets first, and one that talks on: neither may be sent a reset.
TEST(ProberTest, ClosesLikeAClient) {
  Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 64), 0);
  socklen_t bytes = sizeof address;
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  auto prober = Prober::create([](const HealthTarget&, const HealthRecord&) {});
  ASSERT_TRUE(prober);
  prober->set_targets({probe("a", ntohs(address.sin_port))}, {});
  for (int i = 0; i < 20; ++i) {
    const Fd peer(accept(listener.get(), nullptr, nullptr));
    ASSERT_TRUE(peer);
    char byte = 0;
    if (i % 2 == 0) {
      ASSERT_EQ(send(peer.get(), "220 hello", 9, MSG_NOSIGNAL), 9);
      ASSERT_EQ(recv(peer.get(), &byte, 1, 0), 0) << "the prober closes its side";
    } else {
      ASSERT_EQ(recv(peer.get(), &byte, 1, 0), 0);
      ASSERT_EQ(send(peer.get(), "220 hello", 9, MSG_NOSIGNAL), 9) << "after the prober's close";
      ASSERT_EQ(recv(peer.get(), &byte, 1, 0), 0) << "no reset";
    }
  }
}

TEST(ProberTest, KeepsWhatWasKnown) {
  Server server;
  Reports reports;
  auto prober = Prober::create(reports.sink());
  ASSERT_TRUE(prober);
  HealthRecords known;
  const ProbeSpec spec = probe("a", server.port());
  known[spec.target].verdict = HealthVerdict::up;
  prober->set_targets({spec}, known);
  EXPECT_TRUE(wait_until([&] { return server.accepted() >= 5; }));
  EXPECT_EQ(reports.count(), 0) << "up stays up: nothing to report";
}

TEST(ProberTest, ManyTargetsOnOneThread) {
  Server server;
  Reports reports;
  auto prober = Prober::create(reports.sink());
  ASSERT_TRUE(prober);
  std::vector<ProbeSpec> specs;
  for (int i = 0; i < 500; ++i) {
    specs.push_back(probe("t" + std::to_string(i), server.port()));
    specs.back().policy.interval = {1'000};
    specs.back().policy.timeout = {5'000};
  }
  prober->set_targets(specs, {});
  EXPECT_TRUE(wait_until([&] { return reports.count() == 500; }));
  prober->set_targets({}, {});
}

// A stopped process must not find everything dead when it goes on.
TEST(ProberTest, APauseIsNoFailure) {
  Server server;
  int to_parent[2];
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool has_been_down = false;
    auto prober = Prober::create([&](const HealthTarget&, const HealthRecord& record) {
      has_been_down = has_been_down || record.verdict == HealthVerdict::down;
      const char mark = record.verdict == HealthVerdict::up ? 'u' : 'd';
      [[maybe_unused]] const ssize_t written = write(to_parent[1], &mark, 1);
    });
    // The timeout is far shorter than the pause, and one failure is enough.
    ProbeSpec spec = probe("a", server.port());
    spec.policy = {{2}, {50}, 1, 1, 0};
    prober->set_targets({spec}, {});
    char mark = 0;
    while (read(STDIN_FILENO, &mark, 0) == 0) pause();
    _exit(0);
  }
  close(to_parent[1]);
  char mark = 0;
  ASSERT_EQ(read(to_parent[0], &mark, 1), 1);
  EXPECT_EQ(mark, 'u');
  for (int i = 0; i < 3; ++i) {
    const int before = server.accepted();
    ASSERT_TRUE(wait_until([&] { return server.accepted() > before + 2; }));
    kill(child, SIGSTOP);
    int status = 0;
    waitpid(child, &status, WUNTRACED);
    const auto stopped = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - stopped < std::chrono::milliseconds(700))
      usleep(1000);
    kill(child, SIGCONT);
    const int after = server.accepted();
    ASSERT_TRUE(wait_until([&] { return server.accepted() > after + 5; }));
  }
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(read(to_parent[0], &mark, 1), 0) << "reported '" << mark << "' after a pause";
  close(to_parent[0]);
}

}  // namespace
}  // namespace sluice::health_test
