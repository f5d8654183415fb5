// sluice-mgmt: builds the world and runs its loop; no logic of its own.
#include <errno.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>

#include <array>
#include <cstdio>
#include <string_view>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/log.h"
#include "mgmt/server/manager.h"
#include "mgmt/server/verbs.h"

namespace {

constexpr const char* usage =
    "usage: sluice-mgmt [--run-dir DIR] [--state-dir DIR] [--profiles DIR]\n"
    "  --run-dir DIR    sockets of this instance (default /run/sluice)\n"
    "  --state-dir DIR  what survives a restart (default /var/lib/sluice)\n"
    "  --profiles DIR   NIC profiles (default /usr/share/sluice/nic_profiles)\n";

sluice::Instant monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return {static_cast<std::uint64_t>(now.tv_sec) * 1000 +
          static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000};
}

// Thousands of probes need thousands of descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// SIGTERM and SIGINT as a descriptor; every thread started later has them blocked.
sluice::Fd termination_fd() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return sluice::Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

int refuse(const std::string& message) {
  sluice::log_error("{}", message);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  sluice::ManagerOptions options{"/run/sluice", "/var/lib/sluice",
                                 "/usr/share/sluice/nic_profiles"};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    std::string* value = argument == "--run-dir"     ? &options.run_dir
                         : argument == "--state-dir" ? &options.state_dir
                         : argument == "--profiles"  ? &options.profiles_dir
                                                     : nullptr;
    if (argument == "--help") {
      std::fputs(usage, stdout);
      return 0;
    }
    if (argument == "--version") {
      std::puts("sluice-mgmt " SLUICE_VERSION);
      return 0;
    }
    if (value == nullptr || i + 1 == argc) {
      std::fputs(usage, stderr);
      return 2;
    }
    *value = argv[++i];
  }

  raise_descriptor_limit();
  const sluice::Fd termination = termination_fd();
  if (mkdir(options.run_dir.c_str(), 0755) != 0 && errno != EEXIST) {
    return refuse(fmt::format("{}: {}", options.run_dir, strerror(errno)));
  }
  const sluice::Instant started = monotonic_now();
  auto manager = sluice::Manager::create(options);
  if (!manager) return refuse(manager.error().message);
  auto server = sluice::ControlServer::listen(
      options.run_dir + "/mgmt.sock", [&](sluice::ControlRequest& request) {
        return sluice::answer(**manager, request, started, monotonic_now());
      });
  if (!server) return refuse(server.error().message);
  sluice::log_info("version {} serves {}/mgmt.sock, generation {}", SLUICE_VERSION, options.run_dir,
                   (*manager)->generation());

  while (true) {
    std::array<pollfd, 3> items = {{{server->poll_fd(), POLLIN, 0},
                                    {(*manager)->wakeup_fd(), POLLIN, 0},
                                    {termination.get(), POLLIN, 0}}};
    poll(items.data(), items.size(), static_cast<int>((*manager)->patience().count));
    if (items[2].revents != 0) break;
    server->serve({0});
    (*manager)->tick(monotonic_now());
  }
  sluice::log_info("stopping; the dataplane goes on with generation {}", (*manager)->generation());
  return 0;
}
