#include "dataplane/base/control_channel.h"

#include <errno.h>
#include <fmt/core.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <list>

#include "dataplane/base/json_writer.h"

namespace sluice {
namespace {

constexpr std::string_view frame_magic = "SLU1";
constexpr std::size_t frame_header_bytes = 8;
constexpr std::size_t clients_max = 64;
constexpr int waiting_connections_max = 256;
constexpr std::uint64_t client_idle_ms_max = 30'000;

std::uint64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::string frame(std::string_view body) {
  std::string bytes(frame_magic);
  const auto length = static_cast<std::uint32_t>(body.size());
  bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
  bytes.append(body);
  return bytes;
}

// The body length once the header is complete; an error when it is not a frame.
Result<std::optional<std::size_t>> frame_length(std::string_view bytes, std::size_t body_bytes_max) {
  const std::size_t magic_bytes = std::min(bytes.size(), frame_magic.size());
  if (bytes.substr(0, magic_bytes) != frame_magic.substr(0, magic_bytes)) {
    return fail("not a Sluice control frame (it begins with \"SLU1\"): use the sluice shell");
  }
  if (bytes.size() < frame_header_bytes) return std::optional<std::size_t>();
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + frame_magic.size(), sizeof length);
  if (length > body_bytes_max) {
    return fail(fmt::format("a frame of {} bytes is above the limit of {}", length, body_bytes_max));
  }
  return std::optional<std::size_t>(length);
}

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(fmt::format("{}: a socket path may have at most {} bytes; choose a shorter run directory",
                            path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<Fd> connect_to(const std::string& path) {
  auto address = unix_address(path);
  if (!address) return tl::unexpected(address.error());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(fmt::format("socket: {}", strerror(errno)));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return fail(fmt::format("{}: nothing answers there; the process is not running", path));
    }
    if (errno == EAGAIN) {
      return fail(fmt::format("{}: too many callers wait there; the process is stopped or overloaded", path));
    }
    return fail(fmt::format("{}: {}", path, strerror(errno)));
  }
  return fd;
}

// Makes way for a new socket: removes one that a killed process left. An error when something else is there.
Result<void> clear_path(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode)) return fail(fmt::format("{}: is there and is no socket; remove it", path));
  const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const bool is_live = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
                       errno == EAGAIN;  // its queue is full: it lives, however slowly
  if (is_live) {
    return fail(fmt::format("{}: another process already listens there; stop it or choose another --run-dir", path));
  }
  unlink(path.c_str());
  return {};
}

// Waits until `fd` is ready; false when `deadline_ms` has passed.
bool wait_for(int fd, short events, std::uint64_t deadline_ms) {
  while (true) {
    const std::uint64_t now = monotonic_ms();
    if (now >= deadline_ms) return false;
    pollfd item{fd, events, 0};
    const int ready = poll(&item, 1, static_cast<int>(deadline_ms - now));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

ssize_t send_with_fd(int socket_fd, std::string_view bytes, int attached) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (attached >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &attached, sizeof attached);
  }
  return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

// Appends what is there to `bytes`; keeps the first descriptor that came along, closes all others.
ssize_t receive_with_fd(int socket_fd, std::string& bytes, Fd& attached) {
  std::array<char, 64 * 1024> buffer;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control;
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t received = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return received;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      Fd owned(fd);
      if (!attached) attached = std::move(owned);
    }
  }
  bytes.append(buffer.data(), static_cast<std::size_t>(received));
  return received;
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-_.:/[]@,*+").find(c) != std::string_view::npos;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (is_plain(c)) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return fail(fmt::format("'{}' has a broken %-escape", text));
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

int Fd::release() { return std::exchange(fd_, -1); }

std::string ControlRequest::argument(const std::string& name, std::string fallback) const {
  const auto found = arguments.find(name);
  return found == arguments.end() ? std::move(fallback) : found->second;
}

Result<ControlRequest> ControlRequest::parse(std::string_view body) {
  ControlRequest request;
  const std::size_t newline = body.find('\n');
  std::string_view line = body.substr(0, newline);
  if (newline != std::string_view::npos) request.payload = body.substr(newline + 1);
  while (!line.empty()) {
    const std::size_t space = line.find(' ');
    const std::string_view word = line.substr(0, space);
    line = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
    if (word.empty()) continue;
    if (request.verb.empty()) {
      request.verb = word;
      continue;
    }
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) {
      return fail(fmt::format("'{}' is not of the form key=value", word));
    }
    auto value = percent_decode(word.substr(equals + 1));
    if (!value) return tl::unexpected(value.error());
    request.arguments[std::string(word.substr(0, equals))] = std::move(*value);
  }
  if (request.verb.empty()) return fail("the request names no verb");
  return request;
}

std::string ControlRequest::encode() const {
  std::string body = verb;
  for (const auto& [name, value] : arguments) body += fmt::format(" {}={}", name, percent_encode(value));
  if (!payload.empty()) body += "\n" + payload;
  return body;
}

Result<std::string> call(const std::string& socket_path, const ControlRequest& request, Milliseconds timeout) {
  auto connection = connect_to(socket_path);
  if (!connection) return tl::unexpected(connection.error());
  const int fd = connection->get();
  const std::uint64_t deadline_ms = monotonic_ms() + timeout.count;
  const auto late = [&] {
    return fail(fmt::format("{}: no answer within {} ms; the process is stopped or overloaded", socket_path,
                            timeout.count));
  };

  const std::string bytes = frame(request.encode());
  std::size_t sent_bytes = 0;
  while (sent_bytes < bytes.size()) {
    const int attached = sent_bytes == 0 ? request.attached.get() : -1;
    const ssize_t sent = send_with_fd(fd, std::string_view(bytes).substr(sent_bytes), attached);
    if (sent > 0) {
      sent_bytes += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, deadline_ms)) return late();
    } else if (errno != EINTR) {
      // The server may have refused early and said why: fall through to reading its reply.
      break;
    }
  }

  std::string reply;
  Fd unexpected_fd;
  while (true) {
    auto length = frame_length(reply, control_reply_bytes_max);
    if (!length) return fail(fmt::format("{}: {}", socket_path, length.error().message));
    if (*length && reply.size() >= frame_header_bytes + **length) {
      return reply.substr(frame_header_bytes, **length);
    }
    if (!wait_for(fd, POLLIN, deadline_ms)) return late();
    const ssize_t received = receive_with_fd(fd, reply, unexpected_fd);
    if (received == 0 || (received < 0 && errno != EAGAIN && errno != EINTR)) {
      return fail(fmt::format("{}: the process closed the connection before it answered", socket_path));
    }
  }
}

struct ControlServer::State {
  struct Client {
    Fd fd;
    std::string input;
    std::string output;
    std::size_t sent_bytes = 0;  // of `output`
    Fd attached;
    bool is_closing = false;  // once the output is sent
    bool is_evicted = false;  // made room for a newer one
    std::uint64_t active_ms = 0;
  };

  Fd listener;
  Fd epoll;
  std::string path;
  Handler handler;
  std::list<Client> clients;
  std::size_t evicted_count = 0;

  ~State() {
    if (!path.empty()) unlink(path.c_str());
  }

  void watch(Client& client, std::uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &client;
    epoll_ctl(epoll.get(), operation, client.fd.get(), &event);
  }

  // Peers that connect and say nothing must not keep others out. Freed after the events of this round.
  void evict_quietest() {
    Client* quietest = nullptr;
    for (Client& client : clients) {
      if (client.is_evicted) continue;
      if (quietest == nullptr || client.active_ms < quietest->active_ms) quietest = &client;
    }
    quietest->is_evicted = true;
    ++evicted_count;
  }

  void accept_all() {
    while (true) {
      Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) return;
      if (clients.size() >= clients_max + evicted_count) evict_quietest();
      Client& client = clients.emplace_back();
      client.fd = std::move(fd);
      client.active_ms = monotonic_ms();
      watch(client, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  // Both return false when the client is finished with.
  bool read_from(Client& client) {
    while (true) {
      const ssize_t received = receive_with_fd(client.fd.get(), client.input, client.attached);
      if (received < 0) return errno == EAGAIN || errno == EINTR;
      if (received == 0) {  // it says no more, but may still listen
        client.is_closing = true;
        return write_to(client);
      }
      client.active_ms = monotonic_ms();
      if (!answer(client)) return false;
      if (client.is_closing || !client.output.empty()) return true;
    }
  }

  // Answers one request after the other. A client that does not fetch its replies is not listened to.
  bool answer(Client& client) {
    while (!client.is_closing && client.output.empty()) {
      auto length = frame_length(client.input, control_request_bytes_max);
      if (!length) {
        client.output += frame(json_error(length.error().message));
        client.is_closing = true;
        break;
      }
      if (!*length || client.input.size() < frame_header_bytes + **length) break;
      auto request = ControlRequest::parse(std::string_view(client.input).substr(frame_header_bytes, **length));
      if (request) {
        request->attached = std::move(client.attached);
        client.output += frame(handler(*request));
      } else {
        client.attached = Fd();  // it belonged to this request
        client.output += frame(json_error(request.error().message));
      }
      client.input.erase(0, frame_header_bytes + **length);
      if (!write_to(client)) return false;
    }
    return write_to(client);
  }

  bool write_to(Client& client) {
    while (client.sent_bytes < client.output.size()) {
      const std::string_view rest = std::string_view(client.output).substr(client.sent_bytes);
      const ssize_t sent = send(client.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        client.active_ms = monotonic_ms();
        client.sent_bytes += static_cast<std::size_t>(sent);
      } else if (errno == EAGAIN) {
        watch(client, EPOLLOUT, EPOLL_CTL_MOD);
        return true;
      } else if (errno != EINTR) {
        return false;
      }
    }
    client.output.clear();
    client.sent_bytes = 0;
    if (client.is_closing) return false;
    watch(client, EPOLLIN, EPOLL_CTL_MOD);
    return true;
  }

  bool handle(Client& client, std::uint32_t events) {
    if ((events & EPOLLOUT) == 0) return read_from(client);
    // Once the reply is out, what came in meanwhile has its turn.
    return write_to(client) && (!client.output.empty() || answer(client));
  }
};

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ControlServer::ControlServer(ControlServer&&) noexcept = default;
ControlServer& ControlServer::operator=(ControlServer&&) noexcept = default;
ControlServer::~ControlServer() = default;

Result<ControlServer> ControlServer::listen(const std::string& socket_path, Handler handler) {
  auto address = unix_address(socket_path);
  if (!address) return tl::unexpected(address.error());
  if (auto cleared = clear_path(socket_path, *address); !cleared) return tl::unexpected(cleared.error());

  auto state = std::make_unique<State>();
  state->listener = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t old_mask = umask(0077);  // root only: whoever may write here owns the front door
  const int bound = bind(state->listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  umask(old_mask);
  if (bound != 0 || ::listen(state->listener.get(), waiting_connections_max) != 0) {
    return fail(fmt::format("{}: {}", socket_path, strerror(errno)));
  }
  state->path = socket_path;
  state->handler = std::move(handler);
  state->epoll = Fd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the listener; clients have a pointer
  epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->listener.get(), &event);
  return ControlServer(std::move(state));
}

int ControlServer::poll_fd() const { return state_->epoll.get(); }

void ControlServer::serve(Milliseconds wait) {
  std::array<epoll_event, 16> events;
  const int count = epoll_wait(state_->epoll.get(), events.data(), events.size(), static_cast<int>(wait.count));
  for (int i = 0; i < count; ++i) {
    auto* client = static_cast<State::Client*>(events[static_cast<std::size_t>(i)].data.ptr);
    if (client == nullptr) {
      state_->accept_all();
      continue;
    }
    if (!state_->handle(*client, events[static_cast<std::size_t>(i)].events)) state_->clients.remove_if([&](const State::Client& c) { return &c == client; });
  }
  const std::uint64_t now_ms = monotonic_ms();
  state_->clients.remove_if(
      [&](const State::Client& c) { return c.is_evicted || now_ms - c.active_ms > client_idle_ms_max; });
  state_->evicted_count = 0;
}

}  // namespace sluice
