#include "mgmt/publish/publisher.h"

#include <fmt/core.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/log.h"
#include "mgmt/publish/sealed_memfd.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::uint64_t look_ms = 500;       // between two looks at a dataplane that is well
constexpr std::uint64_t pause_ms_min = 100;  // after a failure; doubles up to pause_ms_max
constexpr std::uint64_t pause_ms_max = 2'000;
constexpr std::uint64_t refused_ms = 5'000;  // before a refused snapshot is tried again
constexpr Milliseconds status_timeout{2'000};
constexpr Milliseconds publish_timeout{10'000};

struct Reply {
  bool is_ok = false;
  std::uint64_t generation = 0;
  std::string error;
  std::vector<std::string> restart_required;
};

// A reply that is no such thing counts as no answer.
Result<Reply> parse_reply(const Result<std::string>& text) {
  if (!text) return tl::unexpected(text.error());
  const json body = json::parse(*text, nullptr, false);
  if (!body.is_object() || !body.value("ok", json()).is_boolean())
    return fail("the dataplane answered something that is no reply");
  Reply reply;
  reply.is_ok = body["ok"].get<bool>();
  if (const json number = body.value("generation", json()); number.is_number_unsigned())
    reply.generation = number;
  if (const json error = body.value("error", json()); error.is_string()) reply.error = error;
  if (const json list = body.value("restart_required", json()); list.is_array()) {
    for (const json& item : list) {
      if (item.is_string()) reply.restart_required.push_back(item);
    }
  }
  return reply;
}

}  // namespace

struct Publisher::State {
  std::string socket_path;
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  // Guarded by the mutex.
  PublishStatus status;
  std::shared_ptr<const SnapshotBuffer> wanted;
  bool is_known = false;
  bool is_stopping = false;
  bool has_news = false;  // the thread has something to do at once
  std::chrono::steady_clock::time_point refused_until;
  std::thread thread;

  void run() {
    std::uint64_t pause_ms = pause_ms_min;
    std::unique_lock lock(mutex);
    while (!is_stopping) {
      has_news = false;
      const bool is_well = step(lock);
      pause_ms = is_well ? look_ms : std::min(pause_ms * 2, pause_ms_max);
      if (is_well && has_to_send()) continue;
      changed.wait_for(lock, std::chrono::milliseconds(pause_ms),
                       [&] { return is_stopping || has_news; });
      if (is_well) pause_ms = pause_ms_min;
    }
  }

  bool has_to_send() const {
    return wanted != nullptr && status.acknowledged_generation < status.wanted_generation &&
           (status.refused_generation != status.wanted_generation ||
            std::chrono::steady_clock::now() >= refused_until);
  }

  // One exchange with the dataplane, outside of the lock. False when it did not answer.
  bool step(std::unique_lock<std::mutex>& lock) {
    if (status.is_connected && has_to_send()) return send(lock);
    lock.unlock();
    const auto reply = parse_reply(call(socket_path, {"status", {}, {}, Fd()}, status_timeout));
    lock.lock();
    if (!reply) {
      lose(reply.error().message);
      return false;
    }
    const bool is_new = !status.is_connected;
    if (is_new) {
      log_info("connected to the dataplane, which has generation {}", reply->generation);
      status.refused_generation = 0;  // a restarted dataplane may take what the old one refused
      status.error.clear();
    }
    status.is_connected = true;
    status.restart_required = reply->restart_required;
    // The same number need not be the same tables: mgmt may have lost its state.
    const bool is_other = reply->generation == status.wanted_generation && !is_known;
    status.acknowledged_generation = is_other ? 0 : reply->generation;
    changed.notify_all();
    return true;
  }

  bool send(std::unique_lock<std::mutex>& lock) {
    const auto snapshot = wanted;
    const std::uint64_t generation = status.wanted_generation;
    ++status.publish_count;
    lock.unlock();
    Result<Reply> reply = fail("");
    if (auto memfd = sealed_memfd(snapshot->bytes())) {
      reply =
          parse_reply(call(socket_path, {"publish", {}, {}, std::move(*memfd)}, publish_timeout));
    } else {
      reply = tl::unexpected(memfd.error());
    }
    lock.lock();
    if (!reply) {
      lose(reply.error().message);
      return false;
    }
    if (reply->is_ok) {
      status.acknowledged_generation = generation;
      status.restart_required = reply->restart_required;
      status.error.clear();
      if (generation == status.wanted_generation) is_known = true;
    } else {
      refused_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(refused_ms);
      if (status.refused_generation != generation || status.error != reply->error)
        log_error("the dataplane refused generation {}: {}", generation, reply->error);
      status.refused_generation = generation;
      status.error = reply->error;
    }
    changed.notify_all();
    return true;
  }

  void lose(const std::string& reason) {
    if (status.is_connected) log_warning("lost the dataplane: {}", reason);
    status.is_connected = false;
    status.error = reason;
    changed.notify_all();
  }
};

Publisher::Publisher(std::string socket_path) : state_(std::make_unique<State>()) {
  state_->socket_path = std::move(socket_path);
  State* raw = state_.get();
  state_->thread = std::thread([raw] { raw->run(); });
}

Publisher::Publisher(Publisher&&) noexcept = default;

Publisher::~Publisher() {
  if (state_ == nullptr) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void Publisher::publish(std::shared_ptr<const SnapshotBuffer> snapshot, std::uint64_t generation,
                        bool is_known) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->wanted = std::move(snapshot);
    state_->status.wanted_generation = generation;
    state_->status.refused_generation = 0;  // a refused configuration leaves its number to the next
    if (!is_known && state_->status.acknowledged_generation == generation)
      state_->status.acknowledged_generation = 0;
    state_->is_known = is_known;
    state_->has_news = true;
  }
  state_->changed.notify_all();
}

PublishStatus Publisher::wait_for(std::uint64_t generation, Milliseconds timeout) const {
  std::unique_lock lock(state_->mutex);
  const PublishStatus& status = state_->status;
  state_->changed.wait_for(lock, std::chrono::milliseconds(timeout.count), [&] {
    return status.acknowledged_generation >= generation ||
           status.refused_generation >= generation ||
           (!status.is_connected && !status.error.empty());
  });
  return status;
}

PublishStatus Publisher::status() const {
  const std::lock_guard lock(state_->mutex);
  return state_->status;
}

}  // namespace sluice
