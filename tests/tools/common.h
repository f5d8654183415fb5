// What the traffic tools share: addresses, an epoll loop's helpers, latency percentiles, JSON
// lines. Ownership: plain values. Threads: every tool is one thread. Errors: die() ends the process
// with status 2, because a tool that was started wrongly has nothing to report.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

using Json = nlohmann::ordered_json;

// A socket address of either family, in network byte order as the kernel wants it.
struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

[[noreturn]] void die(const std::string& text);

// "10.9.0.1:80" or "[fd00:9::1]:80".
Address parse_address_port(const std::string& text);

// "10.1.0.11", "10.1.0.11-10.1.0.20" (both included), or several of these separated by commas.
// The ports are 0: the kernel chooses. Empty text gives no address: the kernel chooses that too.
std::vector<Address> parse_sources(const std::string& text);

// Monotonic time; the same clock as Python's time.monotonic(), so that results can be laid side by
// side with what a test did.
std::uint64_t now_us();

// "ECONNRESET" for 104: names stay the same in every language the machine speaks.
std::string errno_name(int error);

// A non-blocking socket bound to `source` (nullptr: unbound), with the source port left to
// connect() so that one address can serve more connections than it has ephemeral ports. -1 and
// errno on error.
int open_socket(int family, int type, const Address* source);

// A listening TCP (SOCK_STREAM) or bound UDP socket on [::]:port that takes IPv4 as well.
int open_server(int type, std::uint16_t port, const std::string& address);

// Set by SIGINT and SIGTERM (stop) and SIGUSR1 (report progress); read by the loops.
bool stop_requested();
bool take_progress_request();
// Prints {"event":"begin"}: from then on a signal is heard and not deadly.
void install_signal_handlers();

// Latencies in microseconds, kept whole: a run has at most a few million.
class Latencies {
 public:
  void add(std::uint64_t us) { values_.push_back(static_cast<std::uint32_t>(us)); }
  Json percentiles();  // {"p50":..,"p90":..,"p99":..,"max":..}, all in us; empty object when unused

 private:
  std::vector<std::uint32_t> values_;
};

// One JSON object on one line, flushed, so that a reader can wait for it.
void print_line(const Json& json);

Json count_map(const std::map<std::string, std::uint64_t>& counts);

}  // namespace sluice::tools
