#include "tests/tools/common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace sluice::tools {
namespace {

volatile sig_atomic_t g_stop = 0;
volatile sig_atomic_t g_progress = 0;

void on_stop(int) {
  g_stop = 1;
}
void on_progress(int) {
  g_progress = 1;
}

Address parse_ip(const std::string& text, std::uint16_t port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof(sockaddr_in);
  } else if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof(sockaddr_in6);
  } else {
    die("'" + text + "' is not an IPv4 or IPv6 address");
  }
  return address;
}

std::uint16_t parse_port(const std::string& text) {
  char* end = nullptr;
  long port = std::strtol(text.c_str(), &end, 10);
  if (end == text.c_str() || *end != '\0' || port < 1 || port > 65535) {
    die("'" + text + "' is not a port between 1 and 65535");
  }
  return static_cast<std::uint16_t>(port);
}

// The last four bytes of an address as a number: what a range of sources counts through.
std::uint32_t tail(const Address& address) {
  std::uint32_t word = 0;
  if (address.family() == AF_INET) {
    word = reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr.s_addr;
  } else {
    memcpy(&word, &reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr.s6_addr[12],
           4);
  }
  return ntohl(word);
}

void set_tail(Address& address, std::uint32_t value) {
  std::uint32_t word = htonl(value);
  if (address.family() == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr.s_addr = word;
  } else {
    memcpy(&reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_addr.s6_addr[12], &word, 4);
  }
}

void add_range(const std::string& text, std::vector<Address>& out) {
  std::size_t dash = text.find('-');
  Address first = parse_ip(text.substr(0, dash), 0);
  Address last = dash == std::string::npos ? first : parse_ip(text.substr(dash + 1), 0);
  if (first.family() != last.family() || tail(last) < tail(first) ||
      tail(last) - tail(first) > 65535) {
    die("'" + text + "' is not a range of at most 65536 addresses of one family");
  }
  for (std::uint64_t value = tail(first); value <= tail(last); ++value) {
    Address address = first;
    set_tail(address, static_cast<std::uint32_t>(value));
    out.push_back(address);
  }
}

}  // namespace

void die(const std::string& text) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, text.c_str());
  std::exit(2);
}

Address parse_address_port(const std::string& text) {
  std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    die("'" + text + "' is not ADDRESS:PORT (an IPv6 address stands in brackets)");
  }
  std::string ip = text.substr(0, colon);
  if (ip.front() == '[' && ip.back() == ']') ip = ip.substr(1, ip.size() - 2);
  return parse_ip(ip, parse_port(text.substr(colon + 1)));
}

std::vector<Address> parse_sources(const std::string& text) {
  std::vector<Address> sources;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = std::min(text.find(',', begin), text.size());
    add_range(text.substr(begin, end - begin), sources);
    begin = end + 1;
  }
  return sources;
}

std::uint64_t now_us() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1000000 +
         static_cast<std::uint64_t>(ts.tv_nsec) / 1000;
}

std::string errno_name(int error) {
  const char* name = strerrorname_np(error);
  return name ? name : "errno " + std::to_string(error);
}

int open_socket(int family, int type, const Address* source) {
  int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || !source) return fd;
  int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd, source->raw(), source->length) < 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

int open_server(int type, std::uint16_t port, const std::string& address) {
  Address local = parse_ip(address, port);
  int fd = socket(local.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: " + errno_name(errno));
  int on = 1;
  int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (local.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (type == SOCK_DGRAM) {
    int bytes = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  }
  if (bind(fd, local.raw(), local.length) < 0) {
    die("port " + std::to_string(port) + ": " + errno_name(errno));
  }
  if (type == SOCK_STREAM && listen(fd, 4096) < 0) die("listen: " + errno_name(errno));
  return fd;
}

bool stop_requested() {
  return g_stop;
}

bool take_progress_request() {
  bool wanted = g_progress;
  g_progress = 0;
  return wanted;
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_stop;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_progress;
  sigaction(SIGUSR1, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  print_line({{"event", "begin"}});
}

Json Latencies::percentiles() {
  Json json = Json::object();
  if (values_.empty()) return json;
  std::sort(values_.begin(), values_.end());
  auto at = [&](double share) {
    return values_[static_cast<std::size_t>(share * static_cast<double>(values_.size() - 1))];
  };
  json["p50"] = at(0.50);
  json["p90"] = at(0.90);
  json["p99"] = at(0.99);
  json["max"] = values_.back();
  return json;
}

void print_line(const Json& json) {
  std::printf("%s\n", json.dump().c_str());
  std::fflush(stdout);
}

Json count_map(const std::map<std::string, std::uint64_t>& counts) {
  Json json = Json::object();
  for (const auto& [name, count] : counts) json[name] = count;
  return json;
}

}  // namespace sluice::tools
