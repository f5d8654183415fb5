#include "tests/tools/flows_server.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/tools/common.h"
#include "tests/tools/stream.h"

namespace sluice::tools {
namespace {

struct Connection {
  std::optional<MessageHeader> first;  // whose connection this is
  std::vector<std::uint8_t> in;        // not a whole message yet
  std::vector<std::uint8_t> out;       // not taken by the kernel yet
};

class FlowsServer {
 public:
  FlowsServer(const std::string& name, const std::string& address, std::uint16_t port)
      : name_(name),
        tcp_(open_server(SOCK_STREAM, port, address)),
        udp_(open_server(SOCK_DGRAM, port, address)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    name_.resize(kNameSize);
    watch(tcp_, EPOLLIN, EPOLL_CTL_ADD);
    watch(udp_, EPOLLIN, EPOLL_CTL_ADD);
  }

  void run() {
    std::vector<epoll_event> events(1024);
    while (!stop_requested()) {
      int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 500);
      for (int i = 0; i < ready; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.fd == tcp_) {
          accept_all();
        } else if (event.data.fd == udp_) {
          echo_datagrams();
        } else {
          serve(event.data.fd);
        }
      }
      if (take_progress_request()) report("progress");
    }
    report("result");
  }

 private:
  void watch(int fd, std::uint32_t wanted, int operation) {
    epoll_event event{};
    event.events = wanted;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void accept_all() {
    for (;;) {
      int fd = accept4(tcp_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ++accepted_;
      connections_[fd].out.assign(name_.begin(), name_.end());
      watch(fd, EPOLLIN, EPOLL_CTL_ADD);
      flush(fd, connections_[fd]);
    }
  }

  void serve(int fd) {
    auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    std::uint8_t buffer[65536];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
      if (got < 0) ++reset_;
      close(fd);
      connections_.erase(found);
      return;
    }
    if (got > 0) {
      connection.in.insert(connection.in.end(), buffer, buffer + got);
      connection.out.insert(connection.out.end(), buffer, buffer + got);
      check(connection);
    }
    flush(fd, connection);
  }

  void check(Connection& connection) {
    std::size_t used = 0;
    while (connection.in.size() - used >= sizeof(MessageHeader)) {
      MessageHeader header{};
      std::memcpy(&header, connection.in.data() + used, sizeof header);
      if (!has_sane_header(header)) {
        ++wrong_bytes_;
        used = connection.in.size();
        break;
      }
      if (connection.in.size() - used < header.size) break;
      if (!connection.first) connection.first = header;
      auto message = std::span(connection.in).subspan(used, header.size);
      count(check_message(message, connection.first->run, connection.first->flow));
      used += header.size;
    }
    connection.in.erase(connection.in.begin(),
                        connection.in.begin() + static_cast<std::ptrdiff_t>(used));
  }

  void count(MessageCheck check) {
    ++messages_;
    if (check == MessageCheck::wrong_flow) ++wrong_flow_;
    if (check == MessageCheck::wrong_bytes) ++wrong_bytes_;
  }

  void flush(int fd, Connection& connection) {
    ssize_t sent = send(fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      connection.out.erase(connection.out.begin(), connection.out.begin() + sent);
    }
    watch(fd, connection.out.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }

  void echo_datagrams() {
    std::uint8_t buffer[kNameSize + 65536];
    std::copy(name_.begin(), name_.end(), buffer);
    for (;;) {
      Address peer;
      peer.length = sizeof peer.storage;
      ssize_t got = recvfrom(udp_, buffer + kNameSize, sizeof buffer - kNameSize, 0, peer.raw(),
                             &peer.length);
      if (got < 0) return;
      auto size = static_cast<std::size_t>(got);
      ++messages_;
      if (sendto(udp_, buffer, kNameSize + size, 0, peer.raw(), peer.length) < 0) ++send_failed_;
    }
  }

  void report(const char* event) {
    print_line({{"event", event},
                {"name", name_.c_str()},
                {"accepted", accepted_},
                {"open", connections_.size()},
                {"reset", reset_},
                {"messages", messages_},
                {"wrong_bytes", wrong_bytes_},
                {"wrong_flow", wrong_flow_},
                {"send_failed", send_failed_}});
  }

  std::string name_;
  int tcp_, udp_, epoll_;
  std::unordered_map<int, Connection> connections_;
  std::uint64_t accepted_ = 0, reset_ = 0, messages_ = 0, wrong_bytes_ = 0, wrong_flow_ = 0;
  std::uint64_t send_failed_ = 0;
};

}  // namespace

int serve_flows(const std::string& name, const std::string& address, std::uint16_t port) {
  if (name.size() >= kNameSize) die("--name has at most 15 characters");
  FlowsServer(name, address, port).run();
  return 0;
}

}  // namespace sluice::tools
