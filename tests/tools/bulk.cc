// bulk: TCP connections that carry much, both ways, checked byte by byte at both ends.
//
// The client says first what is to be: how much each side sends, and in which order. Then each side sends a pseudo-random stream
// and ends it with a FIN. In the order `client-first` the server begins when it has the client's FIN, in `server-first` the
// client when it has the server's: half a connection carries everything.
// Both ends print a "stream" for each connection, with what they received and how it ended.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"
#include "tests/tools/stream.h"

namespace sluice::tools::bulk {
namespace {

constexpr std::uint32_t greeting_magic = 0x314b4c42;  // "BLK1", host byte order: both ends are here
constexpr std::size_t piece_bytes = 256 << 10;

enum class Order : std::uint32_t { both_at_once, client_first, server_first };

struct Greeting {  // the client's first bytes
  std::uint32_t magic = greeting_magic;
  Order order = Order::both_at_once;
  std::uint64_t key = 0;
  std::uint64_t from_client = 0, from_server = 0;  // bytes of each stream
};
static_assert(sizeof(Greeting) == 32);

struct Options {
  std::string connect, source, order = "both-at-once";
  std::uint16_t serve = 0;
  std::string address = "::";
  std::uint64_t send = 0, receive = 0;
  std::uint64_t isn = UINT64_MAX;
  unsigned mss = 0, count = 1;
  double seconds = 0;
};

// One side's stream: bytes that both ends can make.
class Keyed {
 public:
  Keyed(std::uint64_t key, std::uint64_t bytes) : state_(key), left_(bytes), buffer_(piece_bytes) {}

  std::uint64_t left() const { return left_; }  // not consumed yet
  // What comes next, at least a byte of it.
  std::span<const std::uint8_t> ahead() {
    if (position_ == filled_) fill();
    return std::span(buffer_).subspan(position_, filled_ - position_);
  }
  void consume(std::size_t bytes) {
    position_ += bytes;
    left_ -= bytes;
  }

 private:
  void fill() {
    filled_ = static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece_bytes));
    position_ = 0;
    for (std::size_t i = 0; i < filled_; i += 8) {
      const std::uint64_t word = next_random(state_);
      std::memcpy(buffer_.data() + i, &word, 8);
    }
  }

  std::uint64_t state_, left_;
  std::vector<std::uint8_t> buffer_;
  std::size_t position_ = 0, filled_ = 0;
};

class Connection {
 public:
  Connection(int fd, bool is_client) : fd_(fd), is_client_(is_client), began_us_(now_us()) {}
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void greet(const Greeting& greeting) {
    head_ = greeting;
    begin();
  }
  bool is_over() const { return !ended_.empty(); }
  // Sends and receives what there is. Events to wait for next; 0 when it is over.
  std::uint32_t go_on() {
    if (is_client_ && head_sent_ < sizeof head_) send_head();
    if (!is_over()) receive_all();
    if (!is_over() && is_begun()) send_all();
    if (!is_over() && has_fin_ && is_shut_) ended_ = "fin";
    if (is_over()) return 0;
    return (has_fin_ ? 0u : EPOLLIN) | (wants_to_send() ? EPOLLOUT : 0u);
  }
  void end(const std::string& how) { ended_ = how; }

  Json report() const {
    const double seconds = static_cast<double>((last_us_ != 0 ? last_us_ : now_us()) - began_us_) / 1e6;
    return {{"event", "stream"},           {"ended", ended_},
            {"sent", sent_},               {"received", received_},
            {"expected", is_begun() ? (is_client_ ? head_.from_server : head_.from_client) : 0},
            {"first_wrong_byte", first_wrong_ < 0 ? Json() : Json(first_wrong_)},
            {"seconds", seconds}};
  }
  bool is_right() const {
    return ended_ == "fin" && first_wrong_ < 0 && received_ == (is_client_ ? head_.from_server : head_.from_client);
  }

 private:
  bool is_begun() const { return out_ != nullptr; }
  bool may_send() const {
    const Order waits = is_client_ ? Order::server_first : Order::client_first;
    return head_.order != waits || has_fin_;
  }
  bool wants_to_send() const { return (is_client_ && head_sent_ < sizeof head_) || (is_begun() && !is_shut_ && may_send()); }

  void begin() {
    const std::uint64_t keys[2] = {head_.key, ~head_.key};
    out_ = std::make_unique<Keyed>(keys[is_client_ ? 0 : 1], is_client_ ? head_.from_client : head_.from_server);
    in_ = std::make_unique<Keyed>(keys[is_client_ ? 1 : 0], is_client_ ? head_.from_server : head_.from_client);
  }

  void send_head() {
    const ssize_t sent = ::send(fd_, reinterpret_cast<const char*>(&head_) + head_sent_, sizeof head_ - head_sent_, MSG_NOSIGNAL);
    if (sent > 0) head_sent_ += static_cast<std::size_t>(sent);
    if (sent < 0 && errno != EAGAIN) ended_ = errno_name(errno);
  }

  void send_all() {
    if (is_shut_ || !may_send() || (is_client_ && head_sent_ < sizeof head_)) return;
    while (out_->left() > 0) {
      const auto bytes = out_->ahead();
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) ended_ = errno_name(errno);
        return;
      }
      out_->consume(static_cast<std::size_t>(sent));
      sent_ += static_cast<std::uint64_t>(sent);
    }
    shutdown(fd_, SHUT_WR);
    is_shut_ = true;
  }

  void receive_all() {
    // So much at a time that the other direction and the other connections have their turn.
    for (unsigned rounds = 0; rounds < 4 && !has_fin_; ++rounds) {
      std::uint8_t buffer[piece_bytes];
      const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
      if (got < 0) {
        if (errno != EAGAIN) ended_ = errno_name(errno);
        return;
      }
      last_us_ = now_us();
      if (got == 0) {
        has_fin_ = true;
        if (!is_begun()) ended_ = "fin before a greeting";
        return;
      }
      take({buffer, static_cast<std::size_t>(got)});
      if (is_over()) return;
    }
  }

  void take(std::span<const std::uint8_t> bytes) {
    if (!is_client_ && head_received_ < sizeof head_) {
      const std::size_t here = std::min(bytes.size(), sizeof head_ - head_received_);
      std::memcpy(reinterpret_cast<char*>(&head_) + head_received_, bytes.data(), here);
      head_received_ += here;
      bytes = bytes.subspan(here);
      if (head_received_ < sizeof head_) return;
      if (head_.magic != greeting_magic) {
        ended_ = "not a greeting";
        return;
      }
      begin();
    }
    while (!bytes.empty()) {
      if (in_->left() == 0) {
        ended_ = "more bytes than said";
        return;
      }
      const auto expected = in_->ahead();
      const std::size_t here = std::min(bytes.size(), expected.size());
      if (first_wrong_ < 0 && std::memcmp(bytes.data(), expected.data(), here) != 0) {
        const auto at = std::mismatch(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(here), bytes.begin()).first;
        first_wrong_ = static_cast<std::int64_t>(received_) + (at - expected.begin());
      }
      in_->consume(here);
      received_ += here;
      bytes = bytes.subspan(here);
    }
  }

  int fd_;
  bool is_client_;
  Greeting head_;
  std::size_t head_sent_ = 0, head_received_ = 0;
  std::unique_ptr<Keyed> out_, in_;
  bool has_fin_ = false, is_shut_ = false;
  std::uint64_t sent_ = 0, received_ = 0;
  std::int64_t first_wrong_ = -1;
  std::uint64_t began_us_, last_us_ = 0;
  std::string ended_;
};

class Bulk {
 public:
  explicit Bulk(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  int run() {
    if (options_.serve != 0) {
      listener_ = open_server(SOCK_STREAM, options_.serve, options_.address);
      watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
    } else {
      for (unsigned i = 0; i < options_.count; ++i) open();
    }
    const std::uint64_t begin_us = now_us();
    while (!stop_requested() && (options_.serve != 0 || !connections_.empty())) {
      turn();
      const double elapsed = static_cast<double>(now_us() - begin_us) / 1e6;
      if (options_.seconds > 0 && elapsed > options_.seconds) break;
      if (take_progress_request()) report("progress");
    }
    for (auto& [fd, connection] : connections_) {
      connection->end("unfinished");
      count(*connection);
    }
    report("result");
    return 0;
  }

 private:
  void watch(int fd, std::uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void turn() {
    epoll_event events[64];
    const int ready = epoll_wait(epoll_, events, 64, 200);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener_) {
        accept_all();
      } else {
        serve(fd);
      }
    }
  }

  void serve(int fd) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    const std::uint32_t wanted = found->second->go_on();
    if (!found->second->is_over()) return watch(fd, wanted, EPOLL_CTL_MOD);
    count(*found->second);
    connections_.erase(found);  // closes it: epoll forgets it too
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      connections_[fd] = std::make_unique<Connection>(fd, false);
      watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  void open() {
    const Address target = parse_address_port(options_.connect);
    const std::vector<Address> sources = parse_sources(options_.source);
    const int fd = open_socket(target.family(), SOCK_STREAM, sources.empty() ? nullptr : &sources.front());
    if (fd < 0) die("socket: " + errno_name(errno));
    if (options_.mss != 0) {
      const int mss = static_cast<int>(options_.mss);
      setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);
    }
    if (options_.isn != UINT64_MAX) begin_at(fd, static_cast<std::uint32_t>(options_.isn));
    if (connect(fd, target.raw(), target.length) < 0 && errno != EINPROGRESS) die(options_.connect + ": " + errno_name(errno));
    Greeting greeting;
    greeting.key = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
    greeting.from_client = options_.send;
    greeting.from_server = options_.receive;
    greeting.order = options_.order == "client-first"   ? Order::client_first
                     : options_.order == "server-first" ? Order::server_first
                                                        : Order::both_at_once;
    connections_[fd] = std::make_unique<Connection>(fd, true);
    connections_[fd]->greet(greeting);
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
  }

  // The connection's first byte will be number isn + 1 (tcp_connect keeps a sequence number that is set already).
  static void begin_at(int fd, std::uint32_t isn) {
    const int on = 1, queue = TCP_SEND_QUEUE, off = -1;  // off without a window probe
    if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &isn, sizeof isn) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off) < 0) {
      die("--isn: " + errno_name(errno));
    }
  }

  void count(const Connection& connection) {
    ++(connection.is_right() ? right_ : wrong_);
    print_line(connection.report());
  }

  void report(const char* event) {
    print_line({{"event", event}, {"open", connections_.size()}, {"right", right_}, {"wrong", wrong_}});
  }

  Options options_;
  int epoll_, listener_ = -1;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::uint64_t right_ = 0, wrong_ = 0;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  sluice::CommandLine command{"Send and receive much over TCP, and check every byte."};
  command.add("--serve", options.serve, "listen on this port, for ever");
  command.add("--address", options.address, "listen here (default: all, both families)");
  command.add("--connect", options.connect, "ADDRESS:PORT of a server");
  command.add("--count", options.count, "connections at once");
  command.add("--send", options.send, "bytes from client to server");
  command.add("--receive", options.receive, "bytes from server to client");
  command.add("--order", options.order, "who waits for the other's FIN").one_of({"both-at-once", "client-first", "server-first"});
  command.add("--source", options.source, "own address");
  command.add("--isn", options.isn, "initial sequence number (needs CAP_NET_ADMIN)");
  command.add("--mss", options.mss, "largest segment to send and to ask for");
  command.add("--seconds", options.seconds, "give up after this long");
  if (const auto status = command.parse(argc, argv)) return *status;
  if ((options.serve == 0) == options.connect.empty()) die("give --serve PORT or --connect ADDRESS:PORT");
  install_signal_handlers();
  return Bulk(options).run();
}

}  // namespace sluice::tools::bulk
