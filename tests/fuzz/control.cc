// libFuzzer: bytes that come over the control socket, whole or in pieces, with or without a descriptor. The server answers
// each frame with one JSON object, closes what is no frame, leaks no descriptor, and answers the next client all the same.
// dataplane and mgmt have the same server; the filter of `flows`, `trace` and `capture` is read here as the dataplane does.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/json_writer.h"
#include "dataplane/pipeline/packet_filter.h"
#include "tests/fuzz/scene.h"
#include "tests/unit/dataplane/control_client.h"

namespace {

using namespace sluice;
using fuzz::require;

int attached_count = 0;

std::string answer(ControlRequest& request, const Snapshot& tables) {
  // What was read can be written and is read again as the same.
  const auto again = ControlRequest::parse(request.encode());
  const bool is_plain = request.verb.find_first_of(" =\n%") == std::string::npos;
  if (is_plain) {
    require(again.has_value() && again->verb == request.verb && again->payload == request.payload, "a request is not read back: " + request.encode());
    bool has_plain_names = true;  // names are written as they are
    for (const auto& [name, value] : request.arguments) has_plain_names &= name.find_first_of(" =\n") == std::string::npos;
    if (has_plain_names) require(again->arguments == request.arguments, "arguments are not read back: " + request.encode());
  }
  attached_count += static_cast<bool>(request.attached);
  const auto filter = PacketFilter::parse(request.payload, tables);
  if (!filter) return json_error(filter.error().message);
  FlowKey before{*IpAddress::parse("203.0.113.1"), *IpAddress::parse("10.9.0.1"), be16(4'000), be16(80), 6};
  FlowKey named{*IpAddress::parse("198.51.100.7"), *IpAddress::parse("10.9.0.1"), be16(5'000), be16(80), 6};
  FlowKey after{*IpAddress::parse("10.2.0.100"), *IpAddress::parse("10.2.0.11"), be16(4'000), be16(8'080), 6};
  PacketFacts facts;
  const bool is_nothing = filter->matches(facts);
  facts = {&before, &after, &named, FrameKind::tcp, "web", "web", "10.2.0.11:8080", "outside", "inside", Verdict::forward};
  JsonWriter json;
  json.open_object().field("ok", true).field("verb", request.verb).field("filter", filter->text());
  json.field("matches", filter->matches(facts)).field("nothing", is_nothing).close_object();
  return json.text();
}

// The lowest number that a new descriptor would get: rises when one is leaked.
int next_fd() {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(fd);
  return fd;
}

class Client {
 public:
  explicit Client(const std::string& path) : fd_(test::connect_control(path, SOCK_NONBLOCK)) { require(static_cast<bool>(fd_), "nobody listens"); }
  void send(std::string_view bytes, int attached) { test::send_with(fd_.get(), bytes, attached); }  // the server may have closed it
  void end() { shutdown(fd_.get(), SHUT_WR); }
  void read() {
    char buffer[65'536];
    for (ssize_t got; (got = recv(fd_.get(), buffer, sizeof buffer, 0)) > 0;) replies_.append(buffer, static_cast<std::size_t>(got));
  }
  // How many replies came; each must be whole and one JSON object that says whether it went well.
  std::size_t check_replies() {
    std::size_t count = 0;
    for (std::string_view rest = replies_; !rest.empty(); ++count) {
      std::uint32_t length = 0;
      require(rest.size() >= 8 && rest.starts_with("SLU1"), "a reply that is no frame");
      std::memcpy(&length, rest.data() + 4, sizeof length);
      require(rest.size() >= 8 + std::size_t{length}, "half a reply");
      const auto json = nlohmann::json::parse(rest.substr(8, length), nullptr, false);
      require(json.is_object() && json.contains("ok") && json["ok"].is_boolean(), "no JSON: " + std::string(rest.substr(8, length)));
      rest.remove_prefix(8 + length);
    }
    return count;
  }

 private:
  Fd fd_;
  std::string replies_;
};

}  // namespace

// The first byte: bit 0, the bytes are bodies ended by 0xff, to be framed; bit 1, a descriptor comes along; the rest, how
// long the pieces are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const auto bed = std::move(*trace::Bed::create(fuzz::scene()));
  static const std::string path = "/tmp/sluice-fuzz-control-" + std::to_string(getpid());
  static auto server = std::move(*ControlServer::listen(path, [](ControlRequest& request) { return answer(request, bed->tables()); }));
  static const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (bytes == 0) return 0;
  const std::uint8_t how = data[0];
  std::string stream(reinterpret_cast<const char*>(data + 1), bytes - 1);
  std::size_t sent_frames = 0;
  if ((how & 1) != 0) {
    std::string frames;
    for (std::size_t at = 0; at < stream.size(); ++sent_frames) {
      const std::size_t end = std::min(stream.find('\xff', at), stream.size());
      frames += test::framed(std::string_view(stream).substr(at, end - at));
      at = end + 1;
    }
    stream = std::move(frames);
  }
  const int fd_before = next_fd();
  {
    Client client(path);
    const std::size_t piece = (how >> 2) == 0 ? stream.size() : (how >> 2) * 7u;
    for (std::size_t at = 0, pieces = 0; at < stream.size(); ++pieces) {
      const std::size_t count = pieces < 32 ? std::min(piece, stream.size() - at) : stream.size() - at;
      client.send(std::string_view(stream).substr(at, count), (how & 2) != 0 ? null_fd : -1);
      at += count;
      server.serve({0});
      client.read();
    }
    client.end();
    for (int i = 0; i < 4; ++i) {
      server.serve({0});
      client.read();
    }
    const std::size_t replies = client.check_replies();
    require((how & 1) == 0 || replies == sent_frames, "not one reply for each request");
  }
  Client next(path);
  next.send(test::framed("status"), -1);
  for (int i = 0; i < 3; ++i) server.serve({0});
  next.read();
  require(next.check_replies() == 1, "the next client is not answered");
  next.end();
  for (int i = 0; i < 2; ++i) server.serve({0});
  { [[maybe_unused]] const Client gone = std::move(next); }
  server.serve({0});
  require(next_fd() == fd_before, "a descriptor is leaked");
  return 0;
}
