// Report: what a run found, as tables on the terminal and as JSON.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "perf/common/histogram.h"
#include "perf/pktgen/counts.h"
#include "perf/pktgen/generator.h"

namespace sluice::perf {

struct Quantiles {  // nanoseconds
  std::uint64_t count = 0, min = 0, p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;
  static Quantiles of(const Histogram& histogram);
};

// One stretch at one rate.
struct Step {
  double offered = 0;  // packets (or connections) per second; infinite: as fast as the port takes
  double seconds = 0;
  double frame_bytes = 0;  // on average, FCS included
  CountsSeen counts;
  Quantiles latency, handshake;
};

// Of --rfc2544, one size.
struct Throughput {
  std::uint16_t size = 0;
  double packets_per_second = 0;                         // 0: not even the lowest rate
  std::vector<std::pair<double, std::uint64_t>> trials;  // rate and packets lost
  Quantiles latency;
};

class Report {
 public:
  explicit Report(bool counts_connections) : counts_connections_(counts_connections) {}
  void add_fact(std::string name, std::string value);
  void add(Step step) { steps_.push_back(std::move(step)); }
  void add(Throughput throughput) { throughputs_.push_back(std::move(throughput)); }
  void set_flows(const FlowLosses& losses) { losses_ = losses; }
  void set_totals(const CountsSeen& totals) { totals_ = totals; }

  void print() const;
  std::string json() const;

 private:
  void print_steps() const;
  void print_throughputs() const;
  void print_counts() const;

  bool counts_connections_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::vector<Step> steps_;
  std::vector<Throughput> throughputs_;
  FlowLosses losses_;
  CountsSeen totals_;
};

// "1.23 M", "45.6 k", "789".
std::string short_number(double value);
// "850 ns", "12.3 us", "4.56 ms".
std::string short_time(std::uint64_t ns);

}  // namespace sluice::perf
