// flows: N long-lived TCP connections or UDP conversations, each sending a keyed stream that the
// far end echoes. Says which broke, waited too long, got damaged bytes, or got another flow's
// bytes.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <random>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"
#include "tests/tools/flows_server.h"
#include "tests/tools/stream.h"

namespace sluice::tools::flows {
namespace {

struct Options {
  std::string connect;
  std::string protocol = "tcp";
  std::string sources;
  std::uint64_t count = 100;
  std::uint32_t bytes = 256;         // of one message
  std::uint32_t interval_ms = 1000;  // between two messages of one flow
  double seconds = 0;                // after all are open; 0: until a signal
  double open_rate = 2000;           // flows opened a second
  std::uint32_t open_timeout_ms = 5000;
  std::uint32_t stall_ms = 1000;
  bool reset_at_end = false;
};

struct Flow {
  // A handshake proves no endpoint: a flow is open when its first echo is back.
  enum class State { unopened, connecting, proving, open, failed, broken };
  State state = State::unopened;
  bool has_stalled = false;
  bool is_waiting = false;  // a message is out and its echo is not back
  int fd = -1;
  std::uint64_t opened_us = 0;   // connect()
  std::uint64_t since_us = 0;    // connect() or send() of what we wait for
  std::uint64_t index = 0;       // of the message that is out
  std::string server;            // the name it gave; empty until it did
  std::vector<std::uint8_t> in;  // TCP: bytes that are not a whole message yet
};

bool is_opening_state(Flow::State state) {
  return state == Flow::State::connecting || state == Flow::State::proving;
}

class Flows {
 public:
  explicit Flows(const Options& options)
      : options_(options),
        target_(parse_address_port(options.connect)),
        sources_(parse_sources(options.sources)),
        is_udp_(options.protocol == "udp"),
        run_(std::random_device{}() * std::uint64_t{0x100000001} + std::random_device{}()),
        flows_(options.count),
        message_(options.bytes),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  int run() {
    begin_us_ = now_us();
    std::vector<epoll_event> events(1024);
    while (!is_finished()) {
      open_more();
      send_due();
      int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 2);
      for (int i = 0; i < ready; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        on_event(flows_[event.data.u64], event.events);
      }
      look_for_late_ones();
      if (!is_ready_ && opened_ == flows_.size() && opening_ == 0) {
        is_ready_ = true;
        ready_us_ = now_us();
        report("ready");
      }
      if (take_progress_request()) report("progress");
    }
    report("result");
    close_all();
    return 0;
  }

 private:
  // Stops sending first and lets the echoes that are under way arrive, for as long as a stall
  // takes.
  bool is_finished() {
    std::uint64_t now = now_us();
    bool is_over =
        stop_requested() || (options_.seconds > 0 && is_ready_ &&
                             static_cast<double>(now - ready_us_) / 1e6 >= options_.seconds);
    if (is_over && !ending_us_) ending_us_ = now;
    if (!ending_us_) return false;
    return waiting_ == 0 || now - ending_us_ > 2000 * std::uint64_t{options_.stall_ms};
  }

  std::uint64_t number(const Flow& flow) const {
    return static_cast<std::uint64_t>(&flow - flows_.data());
  }

  void open_more() {
    if (ending_us_) return;
    double elapsed = static_cast<double>(now_us() - begin_us_) / 1e6;
    while (opened_ < flows_.size() && opening_ < 512 &&
           static_cast<double>(opened_) < elapsed * options_.open_rate + 1) {
      open(flows_[opened_++]);
    }
  }

  void open(Flow& flow) {
    std::uint64_t id = number(flow);
    const Address* source = sources_.empty() ? nullptr : &sources_[id % sources_.size()];
    flow.since_us = now_us();
    flow.fd = open_socket(target_.family(), is_udp_ ? SOCK_DGRAM : SOCK_STREAM, source);
    if (flow.fd < 0) return fail_to_open(flow, errno);
    if (connect(flow.fd, target_.raw(), target_.length) < 0 && errno != EINPROGRESS) {
      return fail_to_open(flow, errno);
    }
    flow.state = is_udp_ ? Flow::State::proving : Flow::State::connecting;
    ++opening_;
    flow.opened_us = flow.since_us;
    epoll_event event{};
    event.events = is_udp_ ? EPOLLIN : EPOLLOUT;
    event.data.u64 = id;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, flow.fd, &event);
    opening_order_.push_back(id);
    if (is_udp_) send_message(flow, now_us());
  }

  void on_event(Flow& flow, std::uint32_t events) {
    if (flow.state == Flow::State::connecting) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(flow.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error) return fail_to_open(flow, error);
      int on = 1;
      setsockopt(flow.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = number(flow);
      epoll_ctl(epoll_, EPOLL_CTL_MOD, flow.fd, &event);
      flow.state = Flow::State::proving;
      return send_message(flow, now_us());
    }
    if (flow.state != Flow::State::open && flow.state != Flow::State::proving) return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(flow);
  }

  void receive(Flow& flow) {
    std::uint8_t buffer[kMessageBytesMax + kNameSize];
    for (;;) {
      ssize_t got = recv(flow.fd, buffer, sizeof buffer, 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got < 0) return lose(flow, errno);
      if (got == 0 && !is_udp_) return lose(flow, ENODATA);
      std::span<const std::uint8_t> bytes(buffer, static_cast<std::size_t>(got));
      if (is_udp_) {
        on_datagram(flow, bytes);
      } else {
        flow.in.insert(flow.in.end(), bytes.begin(), bytes.end());
        if (!take_messages(flow)) return;
      }
      if (flow.fd < 0) return;
    }
  }

  void on_datagram(Flow& flow, std::span<const std::uint8_t> bytes) {
    if (bytes.size() <= kNameSize) return void(++wrong_bytes_);
    note_server(flow, bytes.first(kNameSize));
    on_message(flow, bytes.subspan(kNameSize));
  }

  // False when the stream cannot be followed any further.
  bool take_messages(Flow& flow) {
    std::size_t used = 0;
    if (flow.server.empty()) {
      if (flow.in.size() < kNameSize) return true;
      note_server(flow, std::span(flow.in).first(kNameSize));
      used = kNameSize;
    }
    while (flow.in.size() - used >= sizeof(MessageHeader)) {
      MessageHeader header{};
      std::memcpy(&header, flow.in.data() + used, sizeof header);
      if (!has_sane_header(header)) {
        ++wrong_bytes_;
        lose(flow, EBADMSG);
        return false;
      }
      if (flow.in.size() - used < header.size) break;
      on_message(flow, std::span(flow.in).subspan(used, header.size));
      used += header.size;
    }
    flow.in.erase(flow.in.begin(), flow.in.begin() + static_cast<std::ptrdiff_t>(used));
    return true;
  }

  void note_server(Flow& flow, std::span<const std::uint8_t> padded) {
    std::string name(reinterpret_cast<const char*>(padded.data()), padded.size());
    name.resize(std::strlen(name.c_str()));
    if (flow.server.empty()) {
      flow.server = name;
      ++by_server_[name];
    } else if (flow.server != name) {
      ++moved_;
    }
  }

  void on_message(Flow& flow, std::span<const std::uint8_t> message) {
    MessageCheck check = check_message(message, run_, number(flow));
    if (check == MessageCheck::wrong_flow) ++wrong_flow_;
    if (check == MessageCheck::wrong_bytes) ++wrong_bytes_;
    if (check != MessageCheck::right) return;
    MessageHeader header{};
    std::memcpy(&header, message.data(), sizeof header);
    if (!flow.is_waiting || header.index != flow.index) {
      // A late UDP echo is no fault; TCP never repeats and never skips.
      if (is_udp_) {
        ++late_;
      } else {
        ++wrong_bytes_;
      }
      return;
    }
    std::uint64_t now = now_us();
    note_wait(flow, now);
    echo_us_.add(now - flow.since_us);
    ++messages_;
    flow.is_waiting = false;
    --waiting_;
    ++flow.index;
    if (flow.state == Flow::State::proving) {
      flow.state = Flow::State::open;
      --opening_;
      ++established_;
    }
    due_.push_back({flow.since_us + options_.interval_ms * std::uint64_t{1000}, number(flow)});
  }

  void send_due() {
    std::uint64_t now = now_us();
    while (!ending_us_ && !due_.empty() && due_.front().first <= now) {
      Flow& flow = flows_[due_.front().second];
      due_.pop_front();
      if (flow.state == Flow::State::open && !flow.is_waiting) send_message(flow, now);
    }
  }

  void send_message(Flow& flow, std::uint64_t now) {
    write_message(message_, run_, number(flow), flow.index);
    ssize_t sent = send(flow.fd, message_.data(), message_.size(), MSG_NOSIGNAL);
    if (sent < 0 && !(is_udp_ && errno == ECONNREFUSED)) return lose(flow, errno);
    if (sent >= 0 && static_cast<std::size_t>(sent) != message_.size()) {
      // One message is out at a time and fits any socket buffer.
      return lose(flow, EMSGSIZE);
    }
    flow.since_us = now;
    flow.is_waiting = true;
    ++waiting_;
    waiting_order_.push_back({now, number(flow)});
  }

  void note_wait(Flow& flow, std::uint64_t now) {
    std::uint64_t waited = now - flow.since_us;
    longest_wait_us_ = std::max(longest_wait_us_, waited);
    if (waited > options_.stall_ms * std::uint64_t{1000} && !flow.has_stalled) {
      flow.has_stalled = true;
      ++stalled_;
    }
  }

  // Both queues are in the order of sending, so that the first ones are the latest.
  void look_for_late_ones() {
    std::uint64_t now = now_us();
    while (!opening_order_.empty()) {
      Flow& flow = flows_[opening_order_.front()];
      bool is_opening = is_opening_state(flow.state);
      std::uint64_t timeout_us = options_.open_timeout_ms * std::uint64_t{1000};
      if (is_opening && now - flow.opened_us < timeout_us) break;
      opening_order_.pop_front();
      if (is_opening) fail_to_open(flow, ETIMEDOUT);
    }
    while (!waiting_order_.empty()) {
      auto [sent_us, id] = waiting_order_.front();
      Flow& flow = flows_[id];
      bool is_this = flow.is_waiting && flow.since_us == sent_us;
      if (is_this && now - sent_us <= options_.stall_ms * std::uint64_t{1000}) break;
      waiting_order_.pop_front();
      if (!is_this) continue;
      note_wait(flow, now);
      if (is_udp_) repeat_datagram(flow, now);
    }
  }

  // The kernel repeats lost TCP segments; for UDP the tool says "lost" and goes on with the next.
  void repeat_datagram(Flow& flow, std::uint64_t now) {
    ++lost_;
    flow.is_waiting = false;
    --waiting_;
    ++flow.index;
    if (!ending_us_) send_message(flow, now);
  }

  void fail_to_open(Flow& flow, int error) {
    if (is_opening_state(flow.state)) --opening_;
    flow.state = Flow::State::failed;
    ++failed_to_open_;
    ++failed_by_[errno_name(error)];
    end(flow);
  }

  void lose(Flow& flow, int error) {
    if (is_opening_state(flow.state)) return fail_to_open(flow, error);
    flow.state = Flow::State::broken;
    ++broken_;
    ++broken_by_[errno_name(error)];
    ++broken_by_server_[flow.server];
    end(flow);
  }

  void end(Flow& flow) {
    if (flow.fd >= 0) close(flow.fd);
    flow.fd = -1;
    if (flow.is_waiting) --waiting_;
    flow.is_waiting = false;
  }

  void close_all() {
    for (Flow& flow : flows_) {
      if (flow.fd < 0) continue;
      linger abort{1, 0};
      if (options_.reset_at_end) {
        setsockopt(flow.fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
      }
      close(flow.fd);
    }
  }

  void report(const char* event) {
    std::uint64_t now = now_us();
    std::uint64_t longest_open_us = 0;  // waits that are not over
    for (const Flow& flow : flows_) {
      if (flow.is_waiting) longest_open_us = std::max(longest_open_us, now - flow.since_us);
    }
    Json json;
    json["event"] = event;
    json["protocol"] = options_.protocol;
    json["target"] = options_.connect;
    json["seconds"] = static_cast<double>(now - begin_us_) / 1e6;
    json["flows"] = flows_.size();
    json["established"] = established_;
    json["failed_to_open"] = failed_to_open_;
    json["failed_by"] = count_map(failed_by_);
    json["broken"] = broken_;
    json["broken_by"] = count_map(broken_by_);
    json["broken_by_server"] = count_map(broken_by_server_);
    json["stalled"] = stalled_;
    json["waiting"] = waiting_;
    json["longest_wait_ms"] = std::max(longest_wait_us_, longest_open_us) / 1000;
    json["wrong_bytes"] = wrong_bytes_;
    json["wrong_flow"] = wrong_flow_;
    json["moved"] = moved_;
    json["lost"] = lost_;
    json["late"] = late_;
    json["messages"] = messages_;
    json["echo_us"] = echo_us_.percentiles();
    json["by_server"] = count_map(by_server_);
    print_line(json);
  }

  Options options_;
  Address target_;
  std::vector<Address> sources_;
  bool is_udp_;
  std::uint64_t run_;
  std::vector<Flow> flows_;
  std::vector<std::uint8_t> message_;
  int epoll_;
  bool is_ready_ = false;
  std::uint64_t begin_us_ = 0, ready_us_ = 0, ending_us_ = 0;
  std::size_t opened_ = 0, opening_ = 0, waiting_ = 0;
  std::deque<std::uint64_t> opening_order_;
  std::deque<std::pair<std::uint64_t, std::uint64_t>> due_;            // when, flow
  std::deque<std::pair<std::uint64_t, std::uint64_t>> waiting_order_;  // sent when, flow
  std::uint64_t established_ = 0, failed_to_open_ = 0, broken_ = 0, stalled_ = 0, moved_ = 0;
  std::uint64_t wrong_bytes_ = 0, wrong_flow_ = 0, lost_ = 0, late_ = 0, messages_ = 0;
  std::uint64_t longest_wait_us_ = 0;
  std::map<std::string, std::uint64_t> failed_by_, broken_by_, broken_by_server_, by_server_;
  Latencies echo_us_;
};

}  // namespace

int run(int argc, char** argv) {
  Options options;
  bool is_server = false;
  std::string name;
  std::string address = "::";
  std::uint16_t port = 0;
  sluice::CommandLine command{"Hold many flows open, each echoing a keyed stream, and say what went wrong."};
  command.add("--serve", is_server, "be the echoing end, TCP and UDP on one port");
  command.add("--name", name, "server: who answers");
  command.add("--port", port, "server: port");
  command.add("--address", address, "server: listen here (default: all, both families)");
  command.add("--connect", options.connect, "ADDRESS:PORT");
  command.add("--protocol", options.protocol).one_of({"tcp", "udp"});
  command.add("--source", options.sources, "source addresses: A, A-B, or a list with commas");
  command.add("--count", options.count, "flows");
  command.add("--bytes", options.bytes, "size of a message").between(40, 65000);
  command.add("--interval-ms", options.interval_ms, "between two messages of a flow");
  command.add("--seconds", options.seconds, "end so long after all are open");
  command.add("--open-rate", options.open_rate, "flows opened a second");
  command.add("--open-timeout-ms", options.open_timeout_ms, "a flow may take this to open");
  command.add("--stall-ms", options.stall_ms, "an echo later than this is a stall");
  command.add("--reset-at-end", options.reset_at_end, "close with RST instead of FIN");
  if (const auto status = command.parse(argc, argv)) return *status;
  install_signal_handlers();
  if (is_server) {
    if (name.empty() || !port) die("--serve needs --name and --port");
    return serve_flows(name, address, port);
  }
  if (options.connect.empty()) die("give --connect ADDRESS:PORT, or --serve");
  return Flows(options).run();
}

}  // namespace sluice::tools::flows
