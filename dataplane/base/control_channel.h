// The control channel: how the shell, mgmt and the dataplane talk on one machine.
//
// Unix stream sockets. A frame is the four bytes "SLU1", a little-endian 32-bit body length, and the
// body. A request body is text: the first line is `verb key=value ...`, what follows the first
// newline is the payload. A reply body is one JSON object with "ok". A request may carry one file
// descriptor (SCM_RIGHTS, on the first byte of its frame).
//
// Threads: a ControlServer belongs to the thread that calls serve(); call() may be used anywhere.
// Errors:  noise, an oversized frame or a stalled peer ends that connection and no other.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/base/units.h"

namespace sluice {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  int release();
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct ControlRequest {
  std::string verb;
  std::map<std::string, std::string> arguments;
  std::string payload;
  Fd attached;  // empty unless the peer sent one

  // The argument, or `fallback` when it was not given.
  std::string argument(const std::string& name, std::string fallback = {}) const;

  static Result<ControlRequest> parse(std::string_view body);
  std::string encode() const;  // the body; the descriptor travels beside it
};

inline constexpr std::size_t control_request_bytes_max = 4u << 20;
inline constexpr std::size_t control_reply_bytes_max = 64u << 20;

// Sends one request and waits for its reply. An error says which process did not answer and why.
Result<std::string> call(const std::string& socket_path, const ControlRequest& request,
                         Milliseconds timeout = {10'000});

// Serves many clients from one thread without blocking on any of them.
class ControlServer {
 public:
  using Handler = std::function<std::string(ControlRequest&)>;  // request -> JSON reply

  // Replaces a stale socket file; refuses when a live process listens there.
  static Result<ControlServer> listen(const std::string& socket_path, Handler handler);
  ControlServer(ControlServer&&) noexcept;
  ControlServer& operator=(ControlServer&&) noexcept;
  ~ControlServer();

  // Accepts, reads, answers; returns after at most `wait`, or earlier when something happened.
  void serve(Milliseconds wait);
  // Readable when serve() has work: for callers with an event loop of their own.
  int poll_fd() const;

 private:
  struct State;
  explicit ControlServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
