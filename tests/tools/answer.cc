// answer: a server that says its name. TCP: one line or one HTTP request in, the name out, close.
// UDP: the name and what was received, in one datagram. Echo: the name and a newline at once, then every
// byte that is received, until the client ends.
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <unordered_map>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"

namespace sluice::tools::answer {
namespace {

constexpr std::size_t kRequestBytesMax = 4096;

class Answer {
 public:
  Answer(std::string name, int tcp, int udp, int echo)
      : name_(std::move(name)), tcp_(tcp), udp_(udp), echo_(echo), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (tcp_ >= 0) watch(tcp_);
    if (udp_ >= 0) watch(udp_);
    if (echo_ >= 0) watch(echo_);
  }

  void run() {
    epoll_event events[256];
    while (!stop_requested()) {
      int ready = epoll_wait(epoll_, events, 256, 500);
      for (int i = 0; i < ready; ++i) {
        int fd = events[i].data.fd;
        if (fd == tcp_) {
          accept_all();
        } else if (fd == echo_) {
          accept_echoes();
        } else if (echoes_.contains(fd)) {
          echo(fd, echoes_[fd]);
        } else if (fd == udp_) {
          answer_datagrams();
        } else {
          answer_connection(fd);
        }
      }
    }
    print_line({{"event", "result"},
                {"name", name_},
                {"connections", connections_},
                {"datagrams", datagrams_},
                {"echoes", echo_count_}});
  }

 private:
  void watch(int fd, std::uint32_t wanted = EPOLLIN, int operation = EPOLL_CTL_ADD) {
    epoll_event event{};
    event.events = wanted;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void accept_all() {
    for (;;) {
      int fd = accept4(tcp_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      requests_[fd].clear();
      watch(fd);
    }
  }

  void answer_connection(int fd) {
    std::string& request = requests_[fd];
    char buffer[1024];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return forget(fd);
    request.append(buffer, static_cast<std::size_t>(got));
    bool is_http = request.rfind("GET ", 0) == 0;
    bool is_whole = request.find(is_http ? "\r\n\r\n" : "\n") != std::string::npos;
    if (!is_whole && request.size() < kRequestBytesMax) return;
    std::string body = name_ + "\n";
    std::string reply = is_http
                            ? "HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                                  "\r\n\r\n" + body
                            : body;
    ++connections_;
    // A fresh socket buffer always takes so few bytes.
    if (send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) ++send_failed_;
    forget(fd);
  }

  void forget(int fd) {
    requests_.erase(fd);
    close(fd);
  }

  void accept_echoes() {
    for (;;) {
      int fd = accept4(echo_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      ++echo_count_;
      std::string& pending = echoes_[fd] = name_ + "\n";
      watch(fd);
      flush(fd, pending);
    }
  }

  // `pending`: not taken by the kernel yet.
  void echo(int fd, std::string& pending) {
    char buffer[65536];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
      echoes_.erase(fd);
      close(fd);
      return;
    }
    if (got > 0) pending.append(buffer, static_cast<std::size_t>(got));
    flush(fd, pending);
  }

  void flush(int fd, std::string& pending) {
    ssize_t sent = send(fd, pending.data(), pending.size(), MSG_NOSIGNAL);
    if (sent > 0) pending.erase(0, static_cast<std::size_t>(sent));
    watch(fd, pending.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }

  void answer_datagrams() {
    char buffer[65536];
    for (;;) {
      Address peer;
      peer.length = sizeof peer.storage;
      ssize_t got = recvfrom(udp_, buffer, sizeof buffer, 0, peer.raw(), &peer.length);
      if (got < 0) return;
      ++datagrams_;
      std::string reply(buffer, static_cast<std::size_t>(got));
      if (!reply.empty() && reply.back() != '\n') reply += '\n';
      reply += name_ + "\n";
      if (sendto(udp_, reply.data(), reply.size(), 0, peer.raw(), peer.length) < 0) ++send_failed_;
    }
  }

  std::string name_;
  int tcp_, udp_, echo_, epoll_;
  std::unordered_map<int, std::string> requests_, echoes_;
  std::uint64_t connections_ = 0, datagrams_ = 0, send_failed_ = 0, echo_count_ = 0;
};

}  // namespace

int run(int argc, char** argv) {
  std::string name;
  std::string address = "::";
  std::uint16_t tcp_port = 0;
  std::uint16_t udp_port = 0;
  std::uint16_t echo_port = 0;
  sluice::CommandLine command{"Answer every TCP request and UDP datagram with a name."};
  command.add("--name", name).required();
  command.add("--address", address, "listen here (default: all, both families)");
  command.add("--tcp", tcp_port, "TCP port");
  command.add("--udp", udp_port, "UDP port");
  command.add("--echo", echo_port, "TCP port where all that comes is sent back behind the name");
  if (const auto status = command.parse(argc, argv)) return *status;
  if (!tcp_port && !udp_port && !echo_port) die("give --tcp PORT, --udp PORT or --echo PORT");
  install_signal_handlers();
  Answer(name, tcp_port ? open_server(SOCK_STREAM, tcp_port, address) : -1,
         udp_port ? open_server(SOCK_DGRAM, udp_port, address) : -1,
         echo_port ? open_server(SOCK_STREAM, echo_port, address) : -1)
      .run();
  return 0;
}

}  // namespace sluice::tools::answer
