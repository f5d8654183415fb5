#include "mgmt/health/prober.h"

#include <errno.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "dataplane/base/control_channel.h"
#include "dataplane/net/probe_mark.h"
#include "mgmt/model/fields.h"

namespace sluice {
namespace {

constexpr std::uint64_t sleep_ms_max = 500;
constexpr std::uint64_t pause_ms_max =
    500;  // later than planned by more than this: we were stopped
constexpr std::uint64_t first_probes_per_ms = 20;  // spreads the first probes of many targets
constexpr std::uint64_t retry_ms = 100;            // after a failure of our own
constexpr Milliseconds goodbye_time{2'000};        // for the peer to close its side
constexpr std::size_t goodbyes_max = 1'024;        // more are closed at once: probes first
constexpr std::size_t goodbye_bytes_max = 65'536;  // that a peer may still send

Instant monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return {static_cast<std::uint64_t>(now.tv_sec) * 1000 +
          static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000};
}

std::uint64_t unix_ms() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

socklen_t fill_address(sockaddr_storage& storage, IpAddress address, std::uint16_t port) {
  storage = {};
  const auto bytes = address.bytes();
  if (address.is_v4()) {
    auto& four = reinterpret_cast<sockaddr_in&>(storage);
    four.sin_family = AF_INET;
    four.sin_port = be16(port).raw;
    memcpy(&four.sin_addr, bytes.data() + 12, 4);
    return sizeof four;
  }
  auto& six = reinterpret_cast<sockaddr_in6&>(storage);
  six.sin6_family = AF_INET6;
  six.sin6_port = be16(port).raw;
  memcpy(&six.sin6_addr, bytes.data(), 16);
  return sizeof six;
}

// A shortage on this box says nothing about the endpoint.
bool is_our_own_failure(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == EADDRNOTAVAIL || error == EAGAIN;
}

// What an epoll event leads to.
struct Watched {
  explicit Watched(bool is_closing_given) : is_closing(is_closing_given) {}
  bool is_closing;
};

// A connection whose probe is over. It is closed as a client does it, after the peer: to close it
// with bytes unread, or before the peer's last ones arrive, would send a reset to a healthy
// endpoint.
struct Goodbye : Watched {
  Goodbye() : Watched(true) {}
  Fd socket;
  std::size_t read_bytes = 0;
  Instant deadline;
  std::list<Goodbye>::iterator place;
};

struct Target : Watched {
  Target() : Watched(false) {}
  ProbeSpec spec;
  HealthState health;
  Fd socket;  // open while a probe is under way
  bool is_connected = false;
  std::string answer;
  std::size_t sent_bytes = 0;
  Instant started;
  std::multimap<std::uint64_t, Target*>::iterator timer;  // the probe's deadline, or the next probe
};

}  // namespace

struct Prober::State {
  Report report;
  Fd epoll;
  Fd wakeup;
  std::thread thread;
  std::atomic<bool> is_stopping{false};
  std::mutex mutex;  // guards the two below
  std::optional<std::vector<ProbeSpec>> new_specs;
  HealthRecords new_records;

  // Of the thread alone.
  std::map<HealthTarget, std::unique_ptr<Target>> targets;
  std::multimap<std::uint64_t, Target*> timers;
  std::list<Goodbye> goodbyes;  // by rising deadline
  std::mt19937_64 chance{std::random_device()()};

  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wakeup.get(), &one, sizeof one);
  }

  void arm(Target& target, Instant when) {
    if (target.timer != timers.end()) timers.erase(target.timer);
    target.timer = timers.emplace(when.ms, &target);
  }

  void run() {
    Instant planned = monotonic_now();
    while (
        !is_stopping.load(std::memory_order_acquire)) {  // pairs with the release store in ~Prober
      Instant now = monotonic_now();
      if (now.ms > planned.ms + pause_ms_max) drop_probes_under_way(now);
      take_new_targets(now);
      while (!goodbyes.empty() && goodbyes.front().deadline <= now) goodbyes.pop_front();
      while (!timers.empty() && timers.begin()->first <= now.ms)
        on_timer(*timers.begin()->second, now);
      const std::uint64_t next_ms = timers.empty() ? now.ms + sleep_ms_max : timers.begin()->first;
      const std::uint64_t wait_ms = std::min(next_ms > now.ms ? next_ms - now.ms : 0, sleep_ms_max);
      planned = {now.ms + wait_ms};
      std::array<epoll_event, 256> events;
      const int count =
          epoll_wait(epoll.get(), events.data(), events.size(), static_cast<int>(wait_ms));
      now = monotonic_now();
      if (now.ms > planned.ms + pause_ms_max) continue;  // what the events say may be stale
      for (int i = 0; i < count; ++i) {
        auto* watched = static_cast<Watched*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (watched == nullptr) {
          std::uint64_t drained = 0;
          [[maybe_unused]] const ssize_t got = read(wakeup.get(), &drained, sizeof drained);
        } else if (watched->is_closing) {
          hear_out(static_cast<Goodbye&>(*watched));
        } else if (auto& target = static_cast<Target&>(*watched); target.socket) {
          on_event(target, now);
        }
      }
    }
  }

  void take_new_targets(Instant now) {
    std::vector<ProbeSpec> specs;
    HealthRecords records;
    {
      const std::lock_guard lock(mutex);
      if (!new_specs) return;
      specs = std::move(*new_specs);
      new_specs.reset();
      records = std::move(new_records);
    }
    std::map<HealthTarget, std::unique_ptr<Target>> kept;
    std::size_t fresh_count = 0;
    for (ProbeSpec& spec : specs) {
      const HealthTarget key = spec.target;
      const auto old = targets.find(key);
      if (old != targets.end() && old->second->spec.address == spec.address &&
          old->second->spec.port == spec.port && old->second->spec.direct_id == spec.direct_id &&
          old->second->spec.source == spec.source) {
        old->second->spec = std::move(spec);
        kept.emplace(key, std::move(old->second));
        continue;
      }
      auto target = std::make_unique<Target>();
      target->timer = timers.end();
      if (const auto known = records.find(key); known != records.end()) {
        target->health = HealthState(known->second.verdict, known->second.reason);
      }
      target->spec = std::move(spec);
      const std::uint64_t spread_ms =
          std::min(target->spec.policy.interval.count, ++fresh_count / first_probes_per_ms);
      arm(*target, {now.ms + spread_ms});
      kept.emplace(key, std::move(target));
    }
    for (auto& [key, target] : targets) {
      if (target != nullptr && target->timer != timers.end()) timers.erase(target->timer);
    }
    targets = std::move(kept);
  }

  // Stopped for a while: whatever the sockets say now, it happened to nobody listening.
  void drop_probes_under_way(Instant now) {
    for (auto& [key, target] : targets) {
      if (!target->socket) continue;
      target->socket = Fd();
      arm(*target, {now.ms + chance() % retry_ms});
    }
  }

  void on_timer(Target& target, Instant now) {
    if (target.socket) {
      finish(target, false,
             fmt::format("no answer from {} within {}", place(target),
                         duration_text(target.spec.policy.timeout.count)));
    } else {
      start(target, now);
    }
  }

  static std::string place(const Target& target) {
    if (!target.spec.place.empty()) return target.spec.place;
    return address_port_text(target.spec.address, be16(target.spec.port));
  }

  // Each packet of the connection says to which endpoint it goes (net/probe_mark.h). False: see errno.
  static bool set_way(const Target& target) {
    const int socket = target.socket.get();
    const bool is_v4 = target.spec.address.is_v4();
    const ProbeMark mark = is_v4 ? probe_mark_v4(*target.spec.direct_id) : probe_mark_v6(*target.spec.direct_id);
    sockaddr_storage source;
    const socklen_t bytes = fill_address(source, target.spec.source, 0);
    return setsockopt(socket, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_OPTIONS : IPV6_DSTOPTS, mark.data(),
                      mark.size()) == 0 &&
           bind(socket, reinterpret_cast<sockaddr*>(&source), bytes) == 0;
  }

  void start(Target& target, Instant now) {
    target.started = now;
    target.is_connected = false;
    target.answer.clear();
    target.sent_bytes = 0;
    sockaddr_storage address;
    const socklen_t bytes = fill_address(address, target.spec.address, target.spec.port);
    target.socket = Fd(socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!target.socket) return retry(target, now);
    if (target.spec.direct_id && !set_way(target)) {
      if (is_our_own_failure(errno)) return retry(target, now);
      return finish(target, false, fmt::format("cannot send a check to {}: {}", place(target), strerror(errno)));
    }
    epoll_event event{};
    event.events = EPOLLOUT;
    event.data.ptr = static_cast<Watched*>(&target);
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, target.socket.get(), &event) != 0)
      return retry(target, now);
    if (connect(target.socket.get(), reinterpret_cast<sockaddr*>(&address), bytes) != 0 &&
        errno != EINPROGRESS) {
      if (is_our_own_failure(errno)) return retry(target, now);
      return finish(target, false,
                    fmt::format("connecting to {}: {}", place(target), strerror(errno)));
    }
    arm(target, now + target.spec.policy.timeout);
  }

  void retry(Target& target, Instant now) {
    target.socket = Fd();
    arm(target, {now.ms + retry_ms});
  }

  void on_event(Target& target, Instant now) {
    if (!target.is_connected) {
      int error = 0;
      socklen_t bytes = sizeof error;
      getsockopt(target.socket.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
      if (error != 0) {
        if (is_our_own_failure(error)) return retry(target, now);
        return finish(target, false,
                      fmt::format("connecting to {}: {}", place(target), strerror(error)));
      }
      target.is_connected = true;
      if (target.spec.send_payload.empty() && target.spec.expected_response.empty())
        return finish(target, true, {});
    }
    if (!send_some(target)) return;
    if (target.sent_bytes == target.spec.send_payload.size()) {
      if (target.spec.expected_response.empty()) return finish(target, true, {});
      receive_some(target);
    }
  }

  // False when the probe has ended.
  bool send_some(Target& target) {
    while (target.sent_bytes < target.spec.send_payload.size()) {
      const ssize_t sent =
          send(target.socket.get(), target.spec.send_payload.data() + target.sent_bytes,
               target.spec.send_payload.size() - target.sent_bytes, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return true;
      if (sent < 0) {
        finish(target, false, fmt::format("sending to {}: {}", place(target), strerror(errno)));
        return false;
      }
      target.sent_bytes += static_cast<std::size_t>(sent);
    }
    if (!target.spec.expected_response.empty()) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = static_cast<Watched*>(&target);
      epoll_ctl(epoll.get(), EPOLL_CTL_MOD, target.socket.get(), &event);
    }
    return true;
  }

  // Reads no more than what is compared, whatever the endpoint sends.
  void receive_some(Target& target) {
    const std::string& expected = target.spec.expected_response;
    while (true) {
      std::array<char, 2048> buffer;
      const std::size_t wanted = std::min(buffer.size(), expected.size() - target.answer.size());
      const ssize_t got = recv(target.socket.get(), buffer.data(), wanted, 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got < 0)
        return finish(target, false,
                      fmt::format("reading from {}: {}", place(target), strerror(errno)));
      if (got == 0)
        return finish(target, false,
                      fmt::format("{} closed the connection before it answered", place(target)));
      target.answer.append(buffer.data(), static_cast<std::size_t>(got));
      if (expected.compare(0, target.answer.size(), target.answer) != 0) {
        return finish(
            target, false,
            fmt::format("the answer of {} does not begin with the expected bytes", place(target)));
      }
      if (target.answer.size() == expected.size()) return finish(target, true, {});
    }
  }

  void say_goodbye(Target& target) {
    if (!target.is_connected || shutdown(target.socket.get(), SHUT_WR) != 0) return;
    if (goodbyes.size() >= goodbyes_max) return;
    Goodbye& goodbye = goodbyes.emplace_back();
    goodbye.place = std::prev(goodbyes.end());
    goodbye.socket = std::move(target.socket);
    goodbye.deadline = monotonic_now() + goodbye_time;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = static_cast<Watched*>(&goodbye);
    epoll_ctl(epoll.get(), EPOLL_CTL_MOD, goodbye.socket.get(), &event);
  }

  // Frees `goodbye` when it is over: no other event of this round can lead to it.
  void hear_out(Goodbye& goodbye) {
    std::array<char, 4096> buffer;
    while (true) {
      const ssize_t got = recv(goodbye.socket.get(), buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got > 0) goodbye.read_bytes += static_cast<std::size_t>(got);
      if (got <= 0 || goodbye.read_bytes > goodbye_bytes_max) {
        goodbyes.erase(goodbye.place);
        return;
      }
    }
  }

  void finish(Target& target, bool is_success, std::string reason) {
    say_goodbye(target);
    target.socket = Fd();
    const HealthPolicy& policy = target.spec.policy;
    const bool is_changed = is_success ? target.health.on_success(policy)
                                       : target.health.on_failure(policy, std::move(reason));
    const Instant due = next_probe(policy, target.started, chance());
    arm(target, {std::max(due.ms, monotonic_now().ms)});
    if (is_changed)
      report(target.spec.target, {target.health.verdict(), target.health.reason(), unix_ms()});
  }
};

Prober::Prober(std::unique_ptr<State> state) : state_(std::move(state)) {}
Prober::Prober(Prober&&) noexcept = default;
Prober& Prober::operator=(Prober&&) noexcept = default;

Prober::~Prober() {
  if (state_ == nullptr) return;
  state_->is_stopping.store(true,
                            std::memory_order_release);  // pairs with the acquire load in run()
  state_->wake();
  if (state_->thread.joinable()) state_->thread.join();
}

Result<Prober> Prober::create(Report report) {
  auto state = std::make_unique<State>();
  state->report = std::move(report);
  state->epoll = Fd(epoll_create1(EPOLL_CLOEXEC));
  state->wakeup = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->epoll || !state->wakeup)
    return fail(fmt::format("health checks: {}", strerror(errno)));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the wakeup; targets have a pointer
  epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->wakeup.get(), &event);
  State* raw = state.get();
  state->thread = std::thread([raw] { raw->run(); });
  return Prober(std::move(state));
}

void Prober::set_targets(std::vector<ProbeSpec> specs, HealthRecords known) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->new_specs = std::move(specs);
    state_->new_records = std::move(known);
  }
  state_->wake();
}

}  // namespace sluice
