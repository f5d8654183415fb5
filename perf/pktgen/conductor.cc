#include "perf/pktgen/conductor.h"

#include <fmt/core.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_version.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <thread>

#include "perf/common/clock.h"
#include "perf/common/frame.h"
#include "perf/common/port.h"
#include "perf/pktgen/report.h"
#include "perf/pktgen/search.h"

namespace sluice::perf {
namespace {

constexpr unsigned loop_lcore = 1;
constexpr unsigned buffer_count = 16'383;
constexpr std::uint16_t descriptors = 1'024;
constexpr double quiet_seconds = 0.05, settle_seconds = 2;

std::atomic<Generator*> running{nullptr};
std::atomic<bool> is_interrupted{false};

void interrupt(int) {
  if (is_interrupted.exchange(true)) _exit(130);  // the second time it is meant
  if (Generator* generator = running.load()) generator->stop();
}

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

Result<void> start_dpdk(const Options& options, std::size_t buffer_bytes) {
  const std::vector<unsigned> cpus = allowed_cpus();
  const unsigned cpu = options.cpu.value_or(cpus.back());
  if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) {
    return fail(fmt::format("--cpu {}: this process may not use it, or there is none", cpu));
  }
  std::string all;
  for (const unsigned one : cpus) all += fmt::format("{}{}", all.empty() ? "" : ",", one);
  std::vector<std::string> arguments = {"sluice-pktgen", "--no-telemetry", "--log-level=*:error",
                                        "--main-lcore=0",
                                        fmt::format("--lcores=0@({}),{}@{}", all, loop_lcore, cpu)};
  bool has_pci = false;
  for (const std::string& device : {options.port, options.endpoints_port}) {
    if (device.empty() || !is_pci_address(device)) continue;
    arguments.push_back("--allow=" + device);
    has_pci = true;
  }
  if (!has_pci) arguments.emplace_back("--no-pci");
  if (has_pci || options.wants_hugepages) {
    arguments.emplace_back("--in-memory");  // no files that a killed process would leave behind
  } else {
    arguments.emplace_back("--no-huge");
    arguments.emplace_back("--no-shconf");
    arguments.emplace_back("-m");
    arguments.push_back(std::to_string(64 + buffer_count * buffer_bytes / (1 << 20)));
  }
  arguments.insert(arguments.end(), options.eal.begin(), options.eal.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return fail(
        fmt::format("DPDK cannot start: {}{}", rte_strerror(rte_errno),
                    has_pci || options.wants_hugepages ? "; are there free hugepages?" : ""));
  }
  return {};
}

class Conductor {
 public:
  explicit Conductor(const Options& options)
      : options_(options), report_(options.traffic.kind == Kind::connections) {}
  ~Conductor() { running = nullptr; }

  Result<void> open();
  int run();

 private:
  void on_lcore(const std::function<void()>& work, bool shows_progress = false);
  void show_progress(double seconds, const CountsSeen& before, const CountsSeen& now);
  Result<void> wait_for_links();
  Result<void> make_generator();
  Result<void> open_flows();
  Result<void> handshake();
  void say(const std::string& text) const {
    if (!options_.is_quiet) fmt::print(stderr, "{}\n", text);
  }
  Step step(double rate, double seconds);
  void search(const Size& size);
  bool is_broken() const { return totals_.broken() > 0; }

  const Options& options_;
  Traffic traffic_ = options_.traffic;
  GeneratorPorts ports_;
  std::unique_ptr<Generator> generator_;
  Report report_;
  CountsSeen totals_;  // of generators that are gone, too
};

void Conductor::on_lcore(const std::function<void()>& work, bool shows_progress) {
  const auto call = [](void* work) {
    (*static_cast<const std::function<void()>*>(work))();
    return 0;
  };
  rte_eal_remote_launch(call, const_cast<std::function<void()>*>(&work), loop_lcore);
  const double begin = wall_seconds();
  double shown = begin;
  CountsSeen before = generator_->counts().read();
  while (rte_eal_get_lcore_state(loop_lcore) == RUNNING) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const double now = wall_seconds();
    if (!shows_progress || now - shown < 1) continue;
    const CountsSeen counts = generator_->counts().read();
    if (!options_.is_quiet) show_progress(now - begin, before, counts);
    before = counts;
    shown = now;
  }
  rte_eal_wait_lcore(loop_lcore);
}

void Conductor::show_progress(double seconds, const CountsSeen& before, const CountsSeen& now) {
  const CountsSeen delta = now - before;
  const auto rate = [&](Count kind) { return short_number(static_cast<double>(delta[kind])); };
  std::string text = fmt::format("{:6.0f} s", seconds);
  if (options_.has_clients()) {
    text += fmt::format("  sent {:>8}/s  back {:>8}/s", rate(Count::sent), rate(Count::received));
  }
  if (ports_.endpoints) text += fmt::format("  reflected {:>8}/s", rate(Count::reflected));
  if (traffic_.kind == Kind::connections) {
    text += fmt::format("  opened {:>8}/s  failed {}", rate(Count::opened),
                        delta[Count::timed_out] + delta[Count::resets]);
  } else if (options_.has_clients()) {
    text += fmt::format("  out {}", now.lost());
  }
  if (const std::uint64_t broken = now.broken(); broken > 0)
    text += fmt::format("  BROKEN {}", broken);
  say(text);
}

Result<void> Conductor::open() {
  std::uint16_t most = 1'518;
  for (const Size& size : traffic_.sizes) most = std::max(most, size.bytes);
  const std::size_t room = most + RTE_PKTMBUF_HEADROOM + 64;
  if (auto started = start_dpdk(options_, room + sizeof(rte_mbuf) + 64); !started) return started;
  ports_.pool = rte_pktmbuf_pool_create(
      "pktgen", buffer_count, 256, 0,
      static_cast<std::uint16_t>(std::max<std::size_t>(room, RTE_MBUF_DEFAULT_BUF_SIZE)),
      SOCKET_ID_ANY);
  if (ports_.pool == nullptr)
    return fail(fmt::format("no memory for packets: {}", rte_strerror(rte_errno)));
  const PortNeeds needs{descriptors, static_cast<std::uint16_t>(most - fcs_bytes)};
  const auto clients = open_port(options_.port, ports_.pool, needs);
  if (!clients) return tl::unexpected(clients.error());
  ports_.clients = *clients;
  ports_.clients_mac = mac_of_port(*clients);
  if (options_.reflects) ports_.endpoints = *clients;
  if (!options_.endpoints_port.empty()) {
    const auto endpoints = open_port(options_.endpoints_port, ports_.pool, needs);
    if (!endpoints) return tl::unexpected(endpoints.error());
    ports_.endpoints = *endpoints;
  }
  if (ports_.endpoints) ports_.endpoints_mac = mac_of_port(*ports_.endpoints);
  if (auto made = make_generator(); !made) return made;
  if (auto waited = wait_for_links(); !waited) return waited;
  return {};
}

Result<void> Conductor::make_generator() {
  auto made = Generator::create(traffic_, ports_);
  if (!made) return tl::unexpected(made.error());
  if (generator_) {
    const CountsSeen seen = generator_->counts().read();
    for (std::size_t i = 0; i < count_kinds; ++i) totals_.values[i] += seen.values[i];
  }
  running = nullptr;
  generator_ = std::move(*made);
  running = generator_.get();
  if (is_interrupted) generator_->stop();
  return {};
}

Result<void> Conductor::wait_for_links() {
  const double end = wall_seconds() + options_.wait_seconds;
  const auto wait = [&](std::uint16_t port, const std::string& device) -> Result<void> {
    if (!is_link_up(port)) say(fmt::format("waiting for the other side of {}", device));
    while (!is_link_up(port)) {
      if (is_interrupted) return fail("interrupted before there was a link");
      if (wall_seconds() > end) {
        return fail(fmt::format("port {}: no link after {:g} s; is the other side there?", device,
                                options_.wait_seconds));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
  };
  if (auto up = wait(ports_.clients, options_.port); !up) return up;
  if (ports_.endpoints && *ports_.endpoints != ports_.clients)
    return wait(*ports_.endpoints, options_.endpoints_port);
  return {};
}

Result<void> Conductor::open_flows() {
  if (!options_.has_clients()) return {};
  if (options_.gateway_mac) {
    generator_->set_gateway(*options_.gateway_mac);
  } else {
    const IpAddress gateway = options_.gateway.value_or(traffic_.vips[0].address);
    bool is_found = false;
    on_lcore([&] { is_found = generator_->find_gateway(gateway, options_.wait_seconds); });
    if (!is_found) {
      return fail(
          fmt::format("{} does not say its MAC address within {:g} s; --gateway or --to-mac?",
                      gateway.text(), options_.wait_seconds));
    }
  }
  if (traffic_.kind == Kind::tcp && traffic_.has_handshake) {
    if (auto opened = handshake(); !opened) return opened;
  }
  if (!traffic_.is_prebuilt) return {};
  std::uint32_t known = 0;
  on_lcore([&] { known = generator_->prebuild(options_.wait_seconds); });
  if (known == 0) return fail("no frame could be prebuilt: nothing comes to the endpoints");
  say(fmt::format("frames of {} of {} flows are prebuilt", known, traffic_.flows));
  return {};
}

Result<void> Conductor::handshake() {
  std::uint32_t open = 0;
  const double rate = options_.opening_rate.packets_per_second(generator_->mean_frame_bytes());
  const double seconds = options_.wait_seconds + (std::isinf(rate) ? 0 : traffic_.flows / rate);
  on_lcore([&] { open = generator_->open_flows(rate, seconds); }, true);
  if (open == 0)
    return fail(
        fmt::format("no flow could be opened within {:.0f} s: no SYN was answered", seconds));
  say(fmt::format("{} of {} flows are open", open, traffic_.flows));
  report_.add_fact("flows_open", std::to_string(open));
  return {};
}

Step Conductor::step(double rate, double seconds) {
  Step step;
  step.offered = rate;
  step.frame_bytes = generator_->mean_frame_bytes();
  const CountsSeen before = generator_->counts().read();
  generator_->begin_measuring();
  double took = 0;
  on_lcore(
      [&] {
        const double begin = wall_seconds();
        generator_->run(rate, seconds);
        took = wall_seconds() - begin;
      },
      true);
  on_lcore([&] { generator_->settle(quiet_seconds, settle_seconds); });
  step.seconds = took;
  step.counts = generator_->counts().read() - before;
  step.latency = Quantiles::of(generator_->latency_ns());
  step.handshake = Quantiles::of(generator_->handshake_ns());
  return step;
}

void Conductor::search(const Size& size) {
  Throughput throughput;
  throughput.size = size.bytes;
  double most = options_.rate.packets_per_second(size.bytes);
  if (std::isinf(most)) {  // what this pair does when it does not care for loss
    const Step free_run = step(most, std::min(1.0, options_.seconds));
    most = static_cast<double>(free_run.counts[Count::sent]) / free_run.seconds;
  }
  ZeroLossSearch search({most / 1'000, most, options_.resolution});
  while (const auto rate = search.next()) {
    const Step trial = step(*rate, options_.seconds);
    if (is_interrupted) break;
    // A rate that was not offered has not passed.
    const std::uint64_t lost = trial.counts.lost() + trial.counts[Count::behind];
    const auto allowed = static_cast<std::uint64_t>(
        options_.loss_allowed * static_cast<double>(trial.counts[Count::requests]));
    const bool has_passed = lost <= allowed && trial.counts[Count::requests] > 0;
    throughput.trials.emplace_back(*rate, lost);
    say(fmt::format("  {} bytes, {}/s: {} of {} lost{}", size.bytes, short_number(*rate),
                    trial.counts.lost(), trial.counts[Count::requests],
                    trial.counts[Count::behind] > 0
                        ? fmt::format(", {} not sent in time", trial.counts[Count::behind])
                        : ""));
    search.report(has_passed);
    if (has_passed) throughput.latency = trial.latency;
  }
  throughput.packets_per_second = search.found();
  report_.add(std::move(throughput));
}

int Conductor::run() {
  report_.add_fact("command", options_.command);
  report_.add_fact("version", SLUICE_VERSION);
  report_.add_fact("dpdk", rte_version());
  report_.add_fact("tsc_mhz", fmt::format("{:.2f}", tsc_hz() / 1e6));
  bool first = true;
  const auto prepare = [&](const std::vector<Size>& sizes) -> Result<void> {
    if (!first || sizes != traffic_.sizes) {
      traffic_.sizes = sizes;
      if (auto made = make_generator(); !made) return made;
    }
    first = false;
    return open_flows();
  };
  if (options_.is_rfc2544) {
    for (const Size& size : options_.traffic.sizes) {
      if (is_interrupted) break;
      if (auto prepared = prepare({{size.bytes, 1}}); !prepared) {
        fmt::print(stderr, "sluice-pktgen: {}\n", prepared.error().message);
        return 3;
      }
      search(size);
    }
  } else {
    if (auto prepared = prepare(traffic_.sizes); !prepared) {
      fmt::print(stderr, "sluice-pktgen: {}\n", prepared.error().message);
      return 3;
    }
    const std::vector<double> rates =
        options_.ramp
            ? options_.ramp->rates()
            : std::vector{options_.rate.packets_per_second(generator_->mean_frame_bytes())};
    for (const double rate : rates) {
      if (is_interrupted) break;
      report_.add(step(rate, options_.ramp ? options_.ramp->seconds : options_.seconds));
    }
  }
  const CountsSeen seen = generator_->counts().read();
  for (std::size_t i = 0; i < count_kinds; ++i) totals_.values[i] += seen.values[i];
  report_.set_totals(totals_);
  report_.set_flows(generator_->flow_losses());
  report_.print();
  if (!options_.json.empty()) {
    std::ofstream file(options_.json);
    file << report_.json();
    file.close();
    if (!file) {
      fmt::print(stderr, "sluice-pktgen: {}: cannot be written\n", options_.json);
      return 1;
    }
  }
  if (is_broken()) return 1;
  const bool nothing_back = options_.has_clients() && totals_[Count::received] == 0;
  const bool has_lost =
      options_.must_not_lose && !options_.is_rfc2544 &&
      (totals_.lost() > 0 || totals_[Count::timed_out] > 0 || totals_[Count::resets] > 0);
  if (nothing_back) fmt::print(stderr, "sluice-pktgen: nothing came back\n");
  return nothing_back || has_lost ? 1 : 0;
}

}  // namespace

int conduct(const Options& options) {
  struct sigaction action {};
  action.sa_handler = interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  Conductor conductor(options);
  if (auto opened = conductor.open(); !opened) {
    fmt::print(stderr, "sluice-pktgen: {}\n", opened.error().message);
    return 3;
  }
  return conductor.run();
}

}  // namespace sluice::perf
