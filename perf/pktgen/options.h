// Options: what the command line asks for, checked. In an Options nothing contradicts itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "perf/pktgen/generator.h"

namespace sluice::perf {

struct Options {
  // ports
  std::string port, endpoints_port;  // DPDK devices; the second may be empty
  bool reflects = false;             // the endpoints are on `port`
  std::optional<unsigned> cpu;       // of the loop
  bool wants_hugepages = false;
  std::vector<std::string> eal;  // further arguments of DPDK
  double wait_seconds = 10;      // for a link, for the gateway
  // traffic
  Traffic traffic;
  std::optional<MacAddress> gateway_mac;
  std::optional<IpAddress> gateway;
  // time
  Rate rate;
  std::optional<Ramp> ramp;
  bool is_rfc2544 = false;
  double resolution = 0.01;  // rfc2544: of the highest rate
  double loss_allowed = 0;   // rfc2544: share of the packets
  double seconds = 10;       // of a run; of a trial
  Rate opening_rate{Rate::Unit::packets, 100'000};
  // output
  std::string json;
  bool is_quiet = false;
  bool must_not_lose = false;
  std::string command;  // as it was given

  bool has_clients() const { return !traffic.vips.empty(); }
};

struct Parsed {
  std::optional<Options> options;
  int status = 0;  // without options: what to end with; help or the error has been printed
};
Parsed parse_options(int argc, const char* const* argv);

}  // namespace sluice::perf
