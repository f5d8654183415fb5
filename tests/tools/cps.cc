// cps: short connections in a closed loop. Each slot opens a connection, asks, reads the answer,
// closes, and starts again; what failed is counted by errno and who answered by name.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"

namespace sluice::tools::cps {
namespace {

struct Options {
  std::string connect;
  std::string protocol = "tcp";
  std::string sources;
  std::string request = "who\n";
  bool http = false;
  std::uint64_t count = 0;  // 0: until --seconds or a signal
  double seconds = 0;       // 0: until --count or a signal
  unsigned concurrency = 16;
  double rate = 0;  // connections a second, all slots together; 0: as fast as answers come
  unsigned timeout_ms = 3000;
};

struct Slot {
  enum class State { idle, connecting, waiting } state = State::idle;
  int fd = -1;
  std::uint64_t started_us = 0;
  std::string reply;
};

struct Server {
  std::uint64_t count = 0;
  std::uint64_t first_us = 0;
  std::uint64_t last_us = 0;
};

// The name is the last line of the answer: the whole of it for `answer`, the body for HTTP.
std::string name_in(std::string reply) {
  while (!reply.empty() && (reply.back() == '\n' || reply.back() == '\r')) reply.pop_back();
  return reply.substr(reply.rfind('\n') + 1).substr(0, 64);
}

class Cps {
 public:
  explicit Cps(const Options& options)
      : options_(options),
        target_(parse_address_port(options.connect)),
        sources_(parse_sources(options.sources)),
        is_udp_(options.protocol == "udp"),
        request_(options.http ? "GET / HTTP/1.0\r\nHost: sluice\r\n\r\n" : options.request),
        slots_(options.concurrency),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  int run() {
    begin_us_ = now_us();
    std::vector<epoll_event> events(256);
    while (!is_finished()) {
      start_idle_slots();
      int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 5);
      for (int i = 0; i < ready; ++i) {
        auto index = static_cast<std::size_t>(i);
        on_event(slots_[events[index].data.u32], events[index].events);
      }
      expire(now_us());
      if (take_progress_request()) report("progress");
    }
    report("result");
    return 0;
  }

 private:
  bool may_start(std::uint64_t now) const {
    if (stop_requested() || (options_.count && started_ >= options_.count)) return false;
    double elapsed = static_cast<double>(now - begin_us_) / 1e6;
    if (options_.seconds > 0 && elapsed >= options_.seconds) return false;
    return options_.rate <= 0 || static_cast<double>(started_) < elapsed * options_.rate + 1;
  }

  bool is_finished() {
    bool may_end = stop_requested() || (options_.count && started_ >= options_.count) ||
                   (options_.seconds > 0 &&
                    static_cast<double>(now_us() - begin_us_) / 1e6 >= options_.seconds);
    return may_end && active_ == 0;
  }

  void start_idle_slots() {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].state == Slot::State::idle && may_start(now_us())) start(i);
    }
  }

  void start(std::size_t index) {
    Slot& slot = slots_[index];
    slot.started_us = now_us();
    slot.reply.clear();
    const Address* source = sources_.empty() ? nullptr : &sources_[started_ % sources_.size()];
    ++started_;
    ++active_;
    slot.state = Slot::State::connecting;
    slot.fd = open_socket(target_.family(), is_udp_ ? SOCK_DGRAM : SOCK_STREAM, source);
    if (slot.fd < 0) return fail(slot, errno);
    epoll_event event{};
    event.events = EPOLLOUT;
    event.data.u32 = static_cast<std::uint32_t>(index);
    epoll_ctl(epoll_, EPOLL_CTL_ADD, slot.fd, &event);
    if (connect(slot.fd, target_.raw(), target_.length) < 0 && errno != EINPROGRESS) {
      fail(slot, errno);
    }
  }

  void on_event(Slot& slot, std::uint32_t events) {
    if (slot.state == Slot::State::connecting) {
      on_connected(slot);
    } else if (slot.state == Slot::State::waiting && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
      on_readable(slot);
    }
  }

  void on_connected(Slot& slot) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(slot.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return fail(slot, error);
    if (!is_udp_) connect_us_.add(now_us() - slot.started_us);
    if (send(slot.fd, request_.data(), request_.size(), MSG_NOSIGNAL) < 0) {
      return fail(slot, errno);
    }
    slot.state = Slot::State::waiting;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<std::uint32_t>(&slot - slots_.data());
    epoll_ctl(epoll_, EPOLL_CTL_MOD, slot.fd, &event);
  }

  void on_readable(Slot& slot) {
    char buffer[4096];
    for (;;) {
      ssize_t got = recv(slot.fd, buffer, sizeof buffer, 0);
      if (got > 0) slot.reply.append(buffer, static_cast<std::size_t>(got));
      if (got > 0 && is_udp_) return succeed(slot);
      if (got > 0) continue;
      if (got == 0) return slot.reply.empty() ? fail(slot, ENODATA) : succeed(slot);
      if (errno == EAGAIN) return;
      return fail(slot, errno);
    }
  }

  void succeed(Slot& slot) {
    std::uint64_t now = now_us();
    reply_us_.add(now - slot.started_us);
    Server& server = by_server_[name_in(slot.reply)];
    if (server.count++ == 0) server.first_us = slot.started_us;
    server.last_us = slot.started_us;
    ++succeeded_;
    finish(slot);
  }

  void fail(Slot& slot, int error) {
    ++failed_by_[errno_name(error)];
    if (failed_++ == 0) first_failure_us_ = slot.started_us;
    last_failure_us_ = slot.started_us;
    finish(slot);
  }

  void finish(Slot& slot) {
    if (slot.fd >= 0) close(slot.fd);
    slot.fd = -1;
    slot.state = Slot::State::idle;
    --active_;
  }

  void expire(std::uint64_t now) {
    for (Slot& slot : slots_) {
      bool is_late = slot.state != Slot::State::idle &&
                     now - slot.started_us > options_.timeout_ms * std::uint64_t{1000};
      if (is_late) fail(slot, ETIMEDOUT);
    }
  }

  // Milliseconds after the begin of the run.
  Json when(std::uint64_t us) const { return (us - begin_us_) / 1000; }

  void report(const char* event) {
    double seconds = static_cast<double>(now_us() - begin_us_) / 1e6;
    Json json;
    json["event"] = event;
    json["protocol"] = options_.protocol;
    json["target"] = options_.connect;
    json["begin_monotonic_ms"] = begin_us_ / 1000;
    json["seconds"] = seconds;
    json["succeeded"] = succeeded_;
    json["failed"] = failed_;
    json["failed_by"] = count_map(failed_by_);
    if (failed_) {
      json["first_failure_ms"] = when(first_failure_us_);
      json["last_failure_ms"] = when(last_failure_us_);
    }
    json["rate"] = static_cast<double>(succeeded_) / seconds;
    json["connect_us"] = connect_us_.percentiles();
    json["reply_us"] = reply_us_.percentiles();
    json["by_server"] = Json::object();
    for (const auto& [name, server] : by_server_) {
      json["by_server"][name] = {{"count", server.count},
                                 {"first_ms", when(server.first_us)},
                                 {"last_ms", when(server.last_us)}};
    }
    print_line(json);
  }

  Options options_;
  Address target_;
  std::vector<Address> sources_;
  bool is_udp_;
  std::string request_;
  std::vector<Slot> slots_;
  int epoll_;
  std::uint64_t begin_us_ = 0, started_ = 0, active_ = 0, succeeded_ = 0, failed_ = 0;
  std::uint64_t first_failure_us_ = 0, last_failure_us_ = 0;
  std::map<std::string, std::uint64_t> failed_by_;
  std::map<std::string, Server> by_server_;
  Latencies connect_us_, reply_us_;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  sluice::CommandLine command{"Open short connections in a closed loop and say who answered and what failed."};
  command.add("--connect", options.connect, "ADDRESS:PORT").required();
  command.add("--protocol", options.protocol).one_of({"tcp", "udp"});
  command.add("--source", options.sources, "source addresses: A, A-B, or a list with commas");
  command.add("--request", options.request, "what to ask (default: who)");
  command.add("--http", options.http, "ask with an HTTP/1.0 GET");
  command.add("--count", options.count, "end after this many connections");
  command.add("--seconds", options.seconds, "end after this many seconds");
  command.add("--concurrency", options.concurrency, "connections open at a time");
  command.add("--rate", options.rate, "connections a second at most");
  command.add("--timeout-ms", options.timeout_ms, "a connection may take this long");
  if (const auto status = command.parse(argc, argv)) return *status;
  install_signal_handlers();
  return Cps(options).run();
}

}  // namespace sluice::tools::cps
