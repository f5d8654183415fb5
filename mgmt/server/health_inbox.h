// HealthInbox: verdicts on their way from the prober's thread to the main loop.
//
// Threads: any may put(); one take()s.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <mutex>
#include <utility>
#include <vector>

#include "dataplane/base/control_channel.h"
#include "mgmt/health/verdicts.h"

namespace sluice {

struct HealthInbox {
  Fd wakeup{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;
  std::vector<std::pair<HealthTarget, HealthRecord>> waiting;

  void put(const HealthTarget& target, const HealthRecord& record) {
    {
      const std::lock_guard lock(mutex);
      waiting.emplace_back(target, record);
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wakeup.get(), &one, sizeof one);
  }

  std::vector<std::pair<HealthTarget, HealthRecord>> take() {
    std::uint64_t drained = 0;
    [[maybe_unused]] const ssize_t got = read(wakeup.get(), &drained, sizeof drained);
    const std::lock_guard lock(mutex);
    return std::exchange(waiting, {});
  }
};

}  // namespace sluice
