#include "dataplane/base/control_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "dataplane/base/json_writer.h"
#include "tests/unit/dataplane/control_client.h"

namespace sluice::control_channel_test {
namespace {

class ControlChannel : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-control-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/test.sock";
  }
  void TearDown() override {
    stop();
    std::filesystem::remove_all(directory_);
  }

  void start() {
    auto server = ControlServer::listen(path_, [this](ControlRequest& request) { return answer(request); });
    ASSERT_TRUE(server) << server.error().message;
    is_stopping_ = false;
    thread_ = std::thread([this, server = std::move(*server)]() mutable {
      while (!is_stopping_) server.serve({10});
    });
  }
  void stop() {
    is_stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::string answer(ControlRequest& request) {
    if (request.verb == "big") return std::string(std::stoul(request.argument("bytes")), 'x');
    if (request.verb == "file") {
      char buffer[64] = {};
      const ssize_t count = request.attached ? pread(request.attached.get(), buffer, sizeof buffer, 0) : -1;
      return count < 0 ? "none" : std::string(buffer, static_cast<std::size_t>(count));
    }
    JsonWriter json;
    json.open_object().field("verb", request.verb).field("payload", request.payload);
    for (const auto& [name, value] : request.arguments) json.field(name, value);
    json.close_object();
    return json.text();
  }

  Fd raw_connection() const {
    Fd fd = test::connect_control(path_);
    EXPECT_TRUE(fd);
    return fd;
  }
  // All that comes until the other end closes.
  static std::string read_all(const Fd& fd) {
    std::string all;
    char buffer[65'536];
    while (true) {
      pollfd item{fd.get(), POLLIN, 0};
      if (poll(&item, 1, 10'000) <= 0) return all + "(nothing for 10 s)";
      const ssize_t count = read(fd.get(), buffer, sizeof buffer);
      if (count <= 0) return all;
      all.append(buffer, static_cast<std::size_t>(count));
    }
  }
  void expect_alive() {
    const auto reply = call(path_, *ControlRequest::parse("ping"));
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(*reply, R"({"verb":"ping","payload":""})");
  }

  std::string directory_, path_;
  std::thread thread_;
  std::atomic<bool> is_stopping_{false};
};

TEST(ControlRequest, ParsesAndEncodes) {
  const auto request = ControlRequest::parse("flows  limit=10 client=fd00:1::7 odd=%20%25%0a=\nkind: x\n");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->verb, "flows");
  EXPECT_EQ(request->argument("limit"), "10");
  EXPECT_EQ(request->argument("odd"), " %\n=");
  EXPECT_EQ(request->argument("absent", "x"), "x");
  EXPECT_EQ(request->payload, "kind: x\n");
  const auto again = ControlRequest::parse(request->encode());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->arguments, request->arguments);
  EXPECT_EQ(again->payload, request->payload);
  for (const char* text : {"", "\nx", "verb word", "verb a=%", "verb a=%4", "verb a=%zz", "   "}) {
    EXPECT_FALSE(ControlRequest::parse(text)) << text;
  }
}

TEST_F(ControlChannel, AnswersAndCarriesArguments) {
  start();
  ControlRequest request;
  request.verb = "show";
  request.arguments["name"] = "a b\n%=\xc3\xa4";
  request.payload = "one\ntwo\n";
  const auto reply = call(path_, request);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(*reply, "{\"verb\":\"show\",\"payload\":\"one\\u000atwo\\u000a\",\"name\":\"a b\\u000a%=\xc3\xa4\"}");
}

TEST_F(ControlChannel, PassesAFileDescriptor) {
  start();
  ControlRequest request;
  request.verb = "file";
  request.attached = Fd(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(request.attached.get(), "hello", 5), 5);
  EXPECT_EQ(*call(path_, request), "hello");
  EXPECT_EQ(*call(path_, *ControlRequest::parse("file")), "none");
}

TEST_F(ControlChannel, ADescriptorOfABrokenRequestIsNotTheNextOnes) {
  start();
  const Fd attached(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(attached.get(), "hello", 5), 5);
  const auto answers = [&](const std::string& bytes) {
    const Fd fd = raw_connection();
    EXPECT_EQ(test::send_with(fd.get(), bytes, attached.get()), static_cast<ssize_t>(bytes.size()));
    shutdown(fd.get(), SHUT_WR);
    return read_all(fd);
  };
  EXPECT_TRUE(answers(test::framed("file")).ends_with("hello"));
  EXPECT_TRUE(answers(test::framed("broken word") + test::framed("file")).ends_with("none"));
}

TEST_F(ControlChannel, BigRepliesArriveWhole) {
  start();
  for (const std::size_t bytes : {0u, 1u, 100'000u, 20'000'000u}) {
    const auto reply = call(path_, *ControlRequest::parse("big bytes=" + std::to_string(bytes)), {60'000});
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->size(), bytes);
  }
}

TEST_F(ControlChannel, NoiseIsAnsweredOnceThenClosed) {
  start();
  for (const std::string& noise : {std::string("GET / HTTP/1.0\r\n\r\n"), std::string("SLU2\1\0\0\0x", 9), std::string("SLU1\xff\xff\xff\xff", 8),
                                  std::string("\0\0\0\0\0\0\0\0", 8)}) {
    const Fd fd = raw_connection();
    ASSERT_EQ(send(fd.get(), noise.data(), noise.size(), MSG_NOSIGNAL), static_cast<ssize_t>(noise.size()));
    const std::string reply = read_all(fd);
    EXPECT_TRUE(reply.starts_with("SLU1")) << reply;
    EXPECT_NE(reply.find(R"("ok":false)"), std::string::npos) << reply;
  }
  expect_alive();
}

TEST_F(ControlChannel, AnOversizedRequestIsRefusedBeforeItIsRead) {
  start();
  const Fd fd = raw_connection();
  const std::uint32_t length = control_request_bytes_max + 1;
  std::string bytes = "SLU1";
  bytes.append(reinterpret_cast<const char*>(&length), 4);
  ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), 0), 8);
  EXPECT_NE(read_all(fd).find("above the limit"), std::string::npos);
  expect_alive();
}

TEST_F(ControlChannel, SlowAndHalfClosedClientsAreServed) {
  start();
  const Fd slow = raw_connection();
  const std::string bytes = test::framed("ping");
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(send(slow.get(), &bytes[i], 1, 0), 1);
    if (i % 4 == 0) expect_alive();  // others do not wait for it
  }
  shutdown(slow.get(), SHUT_WR);
  EXPECT_NE(read_all(slow).find("ping"), std::string::npos);

  const Fd half_closed = raw_connection();
  const std::string big = test::framed("big bytes=5000000");
  ASSERT_EQ(send(half_closed.get(), big.data(), big.size(), 0), static_cast<ssize_t>(big.size()));
  shutdown(half_closed.get(), SHUT_WR);
  EXPECT_EQ(read_all(half_closed).size(), 5'000'008u);
}

TEST_F(ControlChannel, AClientThatDoesNotFetchItsRepliesIsNotListenedTo) {
  start();
  Fd fd = raw_connection();
  fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  const std::string request = test::framed("big bytes=1000000");
  // 4,000 requests would be 4 GB of replies; the server must stop reading long before.
  std::size_t sent_bytes = 0;
  for (int tries = 0; tries < 200; ++tries) {
    std::string many;
    for (int i = 0; i < 4'000; ++i) many += request;
    const ssize_t sent = send(fd.get(), many.data(), many.size(), MSG_NOSIGNAL);
    if (sent > 0) sent_bytes += static_cast<std::size_t>(sent);
    expect_alive();
    if (sent < 0) break;
  }
  EXPECT_LT(sent_bytes, 2'000'000u);
  fd = Fd();
  expect_alive();
}

TEST_F(ControlChannel, RefusesASecondListenerAndReplacesAStaleSocket) {
  start();
  const auto second = ControlServer::listen(path_, [](ControlRequest&) { return std::string(); });
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("already listens"), std::string::npos);
  expect_alive();
  stop();
  // A killed process leaves its socket file.
  const sockaddr_un address = test::control_address(path_);
  ASSERT_EQ(bind(Fd(socket(AF_UNIX, SOCK_STREAM, 0)).get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  start();
  expect_alive();
}

TEST_F(ControlChannel, DoesNotRemoveWhatIsNoSocket) {
  std::ofstream(path_) << "precious";
  const auto server = ControlServer::listen(path_, [](ControlRequest&) { return std::string(); });
  ASSERT_FALSE(server);
  EXPECT_TRUE(std::filesystem::exists(path_));
  std::filesystem::remove(path_);
}

TEST_F(ControlChannel, SaysWhyNobodyAnswers) {
  const auto absent = call(path_, *ControlRequest::parse("ping"));
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("not running"), std::string::npos);
  const auto too_long = call("/tmp/" + std::string(200, 'x'), *ControlRequest::parse("ping"));
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find("shorter run directory"), std::string::npos);
}

TEST_F(ControlChannel, SocketIsForItsOwnerOnly) {
  start();
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0u);
}

}  // namespace
}  // namespace sluice::control_channel_test
