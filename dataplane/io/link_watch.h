// LinkWatch: whether the kernel's interfaces behind ports are running, known as soon as the kernel says it.
//
// A driver on an interface of the kernel's takes what is sent while that is down, and tells nobody that it is lost, or keeps
// it until it is stale; so it is not given any. (Hardware leaves it in its queue, which is then full: that has a name.)
// A thread of its own, asleep until something changes: the control thread may be busy with tables for longer than a port may
// wait for its cable.
// Threads: states are written by that thread and read by any.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"

namespace sluice {

// Read by all lcores, written when a cable is pulled: in a line of its own.
struct alignas(64) LinkState {
  std::atomic<bool> is_down{false};
};

// Up, with a carrier. False for an interface that is gone.
bool is_running(const std::string& interface);

class LinkWatch {
 public:
  // One name a port; empty: nothing of the kernel's is behind it.
  static Result<std::unique_ptr<LinkWatch>> start(std::span<const std::string> interfaces);
  ~LinkWatch();
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  // nullptr for a port without interface.
  const LinkState* state_of(std::size_t port) const { return interfaces_[port].empty() ? nullptr : &states_[port]; }

 private:
  LinkWatch(std::span<const std::string> interfaces, Fd socket, Fd stop);
  void run();
  void read_states();

  std::vector<std::string> interfaces_;
  std::vector<LinkState> states_;
  Fd socket_;  // rtnetlink, hears of links
  Fd stop_;    // an eventfd
  std::thread thread_;
};

}  // namespace sluice
