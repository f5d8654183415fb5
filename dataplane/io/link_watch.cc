#include "dataplane/io/link_watch.h"

#include <errno.h>
#include <fmt/core.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace sluice {
namespace {

// All that has been said; what it was does not matter, nor whether some was missed.
void listen_to_the_end(int socket) {
  std::array<char, 8'192> message;
  while (recv(socket, message.data(), message.size(), 0) >= 0 || errno == ENOBUFS || errno == EINTR) continue;
}

}  // namespace

bool is_running(const std::string& interface) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  return fd && ioctl(fd.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

Result<std::unique_ptr<LinkWatch>> LinkWatch::start(std::span<const std::string> interfaces) {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  Fd stop(eventfd(0, EFD_CLOEXEC));
  if (!fd || !stop || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(fmt::format("cannot listen for changes of this host's links: {}", strerror(errno)));
  }
  return std::unique_ptr<LinkWatch>(new LinkWatch(interfaces, std::move(fd), std::move(stop)));
}

LinkWatch::LinkWatch(std::span<const std::string> interfaces, Fd socket, Fd stop)
    : interfaces_(interfaces.begin(), interfaces.end()),
      states_(interfaces.size()),
      socket_(std::move(socket)),
      stop_(std::move(stop)) {
  read_states();
  // Signals are the main thread's, whom they are to wake.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LinkWatch::~LinkWatch() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void LinkWatch::run() {
  while (true) {
    pollfd waits[] = {{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    poll(waits, 2, -1);
    if (waits[1].revents != 0) return;
    listen_to_the_end(socket_.get());
    read_states();
  }
}

void LinkWatch::read_states() {
  for (std::size_t port = 0; port < interfaces_.size(); ++port) {
    if (!interfaces_[port].empty()) states_[port].is_down.store(!is_running(interfaces_[port]), std::memory_order_relaxed);
  }
}

}  // namespace sluice
