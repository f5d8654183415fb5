// sluice-bench: what Sluice costs, beside what it could cost at best, in one process and one run.
// The rows stand here in the order in which they are printed; how each is taken stands in the
// files of the same names.
#include <fmt/core.h>
#include <rte_eal.h>
#include <rte_version.h>
#include <sys/utsname.h>

#include <fstream>

#include "perf/bench/connections.h"
#include "perf/bench/floor.h"
#include "perf/bench/handshakes.h"
#include "perf/bench/io.h"
#include "perf/bench/lookup.h"
#include "perf/bench/maglev.h"
#include "perf/bench/packet_path.h"
#include "perf/bench/report.h"
#include "perf/bench/republish.h"
#include "perf/bench/workers.h"
#include "perf/common/command_line.h"

namespace sluice::perf {
namespace {

struct Options {
  std::uint32_t flows_max = 10'000'000;
  int repeats = 9;
  double patience_seconds = 10;
  bool is_quick = false;  // a smoke run: every row, few flows, few repeats
  std::vector<std::string> only;
  std::string mode;
  std::string json;
  std::string capture;
};

std::string flows_text(std::uint32_t flows) {
  return flows >= 1'000'000 ? fmt::format("{} M flows", flows / 1'000'000)
                            : fmt::format("{} k flows", flows / 1'000);
}

class Benchmarks {
 public:
  Benchmarks(const Options& options, Report& report) : options_(options), report_(report) {}

  void packet_path();
  void modes();
  void sizes();
  void new_flows();
  void splices();
  void prefixes();
  void connections();
  void refusals();
  void memory();
  void lookups();
  void maglev();
  void latency();
  void workers();
  void with_io();

 private:
  // A row for each stage.
  void add_stages(const std::string& group, const std::function<std::vector<StageCost>(int batches)>& take);

  // The median of some batches: one in which the core was taken away for a while does not count.
  Sample steady(std::function<double()> batch) const {
    return [batch = std::move(batch), count = options_.is_quick ? 3 : 25] {
      batch();  // warms up after another contestant's turn
      std::vector<double> samples;
      for (int i = 0; i < count; ++i) samples.push_back(batch());
      return median_of(samples);
    };
  }

  const Options& options_;
  Report& report_;
};

void Benchmarks::packet_path() {
  struct Target {
    std::uint32_t flows;
    double must, aim;
  };
  for (const Target& target : {Target{1'000, 1.6, 1.3}, Target{64'000, 1.6, 1.3}, Target{100'000, 1.6, 1.3},
                               Target{1'000'000, 1.45, 1.2}, Target{10'000'000, 1.35, 1.15}}) {
    if (target.flows > options_.flows_max) break;
    Floor floor(target.flows);
    Setup setup;
    setup.flows = target.flows;
    Rig rig(setup);
    const auto samples = take_turns(options_.repeats, {steady([&] { return floor.established(); }),
                                                       steady([&] { return established(rig); })});
    const std::string group = "established, " + flows_text(target.flows);
    report_.add(
        {group, "bare-work floor", figure_of(samples[0]), "clk", Better::lower, {}, {}, ""});
    report_.add({group,
                 "FULL_NAT, both directions",
                 figure_of(samples[1]),
                 "clk",
                 Better::lower,
                 {},
                 {},
                 ""});
    report_.add({group, "FULL_NAT / floor", ratio_of(samples[1], samples[0]), "x", Better::lower,
                 target.must, target.aim,
                 fmt::format("{:.0f} % of all memory in huge pages", huge_share() * 100)});
    add_stages(group, [&](int batches) { return stage_costs(rig, batches); });
  }
}

void Benchmarks::add_stages(const std::string& group, const std::function<std::vector<StageCost>(int batches)>& take) {
  std::vector<StageCost> costs = take(1);
  std::vector<Sample> stages;
  for (std::size_t s = 0; s < costs.size(); ++s) {
    stages.push_back([&, s] {
      if (s == 0) costs = take(3);  // of all
      return costs[s].clk;
    });
  }
  const auto of_stages = take_turns(options_.repeats, stages);
  for (std::size_t s = 0; s < costs.size(); ++s) {
    report_.add({group, fmt::format("  stage {}", costs[s].stage), figure_of(of_stages[s]), "clk", Better::lower, {}, {}, ""});
  }
}

void Benchmarks::modes() {
  const std::uint32_t flows = std::min(100'000u, options_.flows_max);
  struct Mode {
    const char* name;
    std::uint8_t protocol_number = protocol::tcp;
    bool is_v6 = false;
    bool is_translated = false;
    Forwarding forwarding = Forwarding::full_nat;
  };
  static constexpr Mode modes[] = {
      {"NAT / FULL_NAT", protocol::tcp, false, false, Forwarding::nat},
      {"UDP / TCP", protocol::udp},
      {"IPv6 / IPv4", protocol::tcp, true},
      {"NAT64 / FULL_NAT", protocol::tcp, true, true},
      {"SPLICE after binding / FULL_NAT", protocol::tcp, false, false, Forwarding::splice},
      {"DSR_IPIP / FULL_NAT", protocol::tcp, false, false, Forwarding::dsr_ipip},
      {"DSR_GUE / FULL_NAT", protocol::tcp, false, false, Forwarding::dsr_gue},
      {"DSR_IPIP, 4 in 6 / FULL_NAT", protocol::tcp, false, true, Forwarding::dsr_ipip},
      {"DSR_GUE, 4 in 6 / FULL_NAT", protocol::tcp, false, true, Forwarding::dsr_gue},
  };
  const auto rig_of = [&](const Mode& mode) {
    Setup setup;
    setup.flows = flows;
    setup.protocol_number = mode.protocol_number;
    setup.is_v6 = mode.is_v6;
    setup.is_translated = mode.is_translated;
    setup.forwarding = mode.forwarding;
    return std::make_unique<Rig>(setup);
  };
  // One beside FULL_NAT at a time: with all of them taking turns each would find its table gone from the cache.
  const auto full_nat = rig_of({""});
  for (const Mode& mode : modes) {
    if (!std::string_view(mode.name).starts_with(options_.mode)) continue;
    const auto other = rig_of(mode);
    const auto samples = take_turns(options_.repeats, {steady([&] { return established(*full_nat); }),
                                                       steady([&] { return established(*other); })});
    report_.add({"modes, " + flows_text(flows), mode.name, ratio_of(samples[1], samples[0]), "x", Better::lower, 1.25,
                 1.1, fmt::format("{:.0f} clk", median_of(samples[1]))});
  }
}

void Benchmarks::sizes() {
  const std::uint32_t flows = std::min(100'000u, options_.flows_max);
  Setup setup;
  setup.flows = flows;
  Rig rig(setup);
  constexpr std::size_t sizes[] = {64, 128, 256, 512, 1'024, 1'500, 9'000};  // FCS included
  Batch batch(sizes[std::size(sizes) - 1]);  // one for all: each size finds its headers as far apart
  std::vector<Sample> contestants;
  for (const std::size_t size : sizes) {
    contestants.push_back(steady([&rig, &batch, size] { return established_of(rig, batch, size - fcs_bytes); }));
  }
  const auto samples = take_turns(options_.repeats, contestants);
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    report_.add({"by packet size, " + flows_text(flows), fmt::format("{} bytes", sizes[i]), figure_of(samples[i]), "clk",
                 Better::lower, {}, {}, fmt::format("{:.0f} Gbit/s on a wire", tsc_hz() / median_of(samples[i]) *
                                                    static_cast<double>(sizes[i] + wire_overhead_bytes) * 8 / 1e9)});
  }
}

void Benchmarks::new_flows() {
  const std::uint32_t flows = std::min(1'000'000u, options_.flows_max);
  Setup setup;
  setup.flows = flows;
  Rig rig(setup);
  Opener opener(rig);
  const auto samples = take_turns(options_.repeats, {steady([&] { return opener.opened(); })});
  report_.add({"new flows", "SYN to record, beside " + flows_text(flows), figure_of(samples[0]),
               "clk", Better::lower, 900, 600, ""});
  add_stages("new flows", [&](int batches) { return opener.stage_costs(batches); });
  setup.flows = 1'000;
  Rig plain(setup);
  setup.route_count = 1'000;
  Rig routed(setup);
  Opener without(plain), with(routed);
  const auto both = take_turns(options_.repeats, {steady([&] { return without.opened(); }), steady([&] { return with.opened(); })});
  report_.add({"new flows", "SYN to record, 1,000 routes on top", difference_of(both[1], both[0]), "clk", Better::lower, {}, {},
               "a packet of each direction looks one up"});
}

void Benchmarks::splices() {
  const std::uint32_t flows = std::min(100'000u, options_.flows_max);
  const auto per_second = [&](const Sample& sample) {
    auto samples = take_turns(options_.repeats, {steady(sample)})[0];
    for (double& clk : samples) clk = tsc_hz() / clk;
    return figure_of(samples);
  };
  Setup setup;
  setup.flows = flows;
  Rig full_nat(setup);
  report_.add({"before the endpoint is chosen", "SYNs answered with a cookie",
               per_second([&] { return decided(full_nat, Verdict::reply, strangers(full_nat, cookie_port)); }), "1/s", Better::higher,
               5e6, 10e6, ""});
  setup.forwarding = Forwarding::splice;
  Rig rig(setup);
  Handshakes handshakes(rig);
  const auto round = [&] {
    std::vector<FlowKey> clients;
    while (clients.size() < Handshakes::count_max) clients.push_back(rig.client_key(rig.fresh_flow()));
    const double clk = handshakes.run(clients);
    handshakes.close_all();
    return clk;
  };
  report_.add({"before the endpoint is chosen", "splices set up", per_second(round), "conn/s", Better::higher, 3e5, {},
               fmt::format("{} packets each, a hello of 517 bytes with one of {} names, beside {}",
                           Handshakes::packets_per_connection, server_name_count, flows_text(flows))});
}

void Benchmarks::prefixes() {
  Setup setup;
  setup.flows = 1'000;
  Rig plain(setup);
  setup.prefix_count = 100'000;
  Rig listed(setup);
  Opener without(plain, true), with(listed, true);
  const auto samples = take_turns(options_.repeats, {steady([&] { return without.opened(); }), steady([&] { return with.opened(); })});
  report_.add({"allow and deny lists", "SYN to record, clients from everywhere", figure_of(samples[0]), "clk", Better::lower, {}, {}, ""});
  report_.add({"allow and deny lists", "100,000 prefixes, on top", difference_of(samples[1], samples[0]), "clk", Better::lower,
               40, {}, "a new flow pays it once"});
}

void Benchmarks::connections() {
  const std::uint32_t capacity = options_.is_quick ? 65'536 : 1'048'576;
  std::vector<double> at_tenth, at_most;
  std::vector<std::unique_ptr<Connections>> tables;
  std::vector<Sample> contestants;
  const double shares[] = {0.1, 0.5, 0.9};
  for (const double share : shares) {
    tables.push_back(std::make_unique<Connections>(capacity, share));
    contestants.push_back([table = tables.back().get()] { return table->round(); });
  }
  auto samples = take_turns(options_.repeats, contestants);
  for (auto& of_table : samples) {
    for (double& clk : of_table) clk = tsc_hz() / clk;
  }
  const std::string group =
      fmt::format("TCP connections of 10 packets, table of {}", flows_text(capacity));
  for (std::size_t i = 0; i < std::size(shares); ++i) {
    report_.add({group, fmt::format("table {:.0f} % full", tables[i]->fill_seen() * 100),
                 figure_of(samples[i]), "conn/s", Better::higher, 7e5, 1e6,
                 fmt::format("{:.0f} clk each, {:.0f} of them for expiry",
                             tsc_hz() / median_of(samples[i]), tables[i]->expiry_clk())});
  }
  Figure slope = ratio_of(samples[2], samples[0]);
  slope = {(1 - slope.median) * 100, (1 - slope.max) * 100, (1 - slope.min) * 100};
  report_.add({group, "slower at 90 % than at 10 %", slope, "%", Better::lower, 10, {}, ""});
  const double expired = expired_per_second(options_.is_quick ? 65'536 : 4'000'000);
  report_.add({group,
               "flows that expiry can close",
               {expired, expired, expired},
               "1/s",
               Better::higher,
               7e5,
               1e6,
               "in a second of the product's own clock"});
}

void Benchmarks::refusals() {
  const auto add = [&](const std::string& name, Rig& rig, Verdict verdict, const std::function<FlowKey()>& next, bool has_target = true) {
    auto samples = take_turns(options_.repeats, {steady([&] { return decided(rig, verdict, next); })})[0];
    for (double& clk : samples) clk = tsc_hz() / clk;
    Row row{"refused packets", name, figure_of(samples), "1/s", Better::higher, {}, {}, ""};
    if (has_target) row.must = 25e6, row.aim = 40e6;
    report_.add(std::move(row));
  };
  const std::uint32_t networks = options_.is_quick ? 1'000 : 100'000;
  const std::string of_networks = fmt::format(", {} k networks", networks / 1'000);
  Setup setup;
  setup.flows = setup.capacity = std::min(100'000u, options_.flows_max);
  {
    Rig full(setup);
    add("no VIP on the port", full, Verdict::drop_no_vip, strangers(full, closed_port));
    add("flow table full", full, Verdict::drop_flows_full, strangers(full, 80));
    add("no endpoint, TCP: answered by a reset", full, Verdict::reject_no_endpoint, strangers(full, empty_port), false);
  }
  {
    Setup with_list = setup;
    with_list.prefix_count = networks;  // half of them may come
    Rig denying(with_list);
    add("denied by the VIP" + of_networks, denying, Verdict::drop_source_denied, strangers_from_denied(denying, networks / 2));
  }
  {
    Setup with_list = setup;
    with_list.blocked_count = networks;
    Rig blocking(with_list);
    add("on the blocklist" + of_networks, blocking, Verdict::drop_blocklisted, strangers_from_denied(blocking, networks));
  }
  setup.protocol_number = protocol::udp;
  Rig udp(setup);
  add("no endpoint, UDP", udp, Verdict::drop_no_endpoint, strangers(udp, empty_port));
}

void Benchmarks::memory() {
  const std::uint32_t flows = options_.flows_max;
  Setup setup;
  setup.flows = 1;
  setup.capacity = flows;
  const Rig rig(setup);
  const double bytes = static_cast<double>(rig.bytes_of_world()) / flows;
  report_.add({"memory",
               "per flow at " + flows_text(flows),
               {bytes, bytes, bytes},
               "B",
               Better::lower,
               192,
               128,
               "records, index, free list, counters: all mappings of one lcore's world"});
}

void Benchmarks::lookups() {
  for (const std::uint32_t flows : {64'000u, 10'000'000u}) {
    if (flows > std::max(options_.flows_max, 64'000u)) break;
    const LookupFigures figures = compare_lookups(flows, options_.repeats);
    const std::string group = fmt::format("lookup of 32, {} in both directions", flows_text(flows));
    report_.add({group,
                 "rte_hash",
                 figures.rte_hash_clk,
                 "clk",
                 Better::lower,
                 {},
                 {},
                 fmt::format("{:.0f} B per flow", figures.rte_hash_bytes)});
    report_.add({group,
                 "Conntrack, the product's",
                 figures.conntrack_clk,
                 "clk",
                 Better::lower,
                 {},
                 {},
                 fmt::format("{:.0f} B per flow", figures.conntrack_bytes)});
    report_.add({group, "Conntrack / rte_hash", figures.ratio, "x", Better::lower, {}, {}, ""});
  }
  const std::uint32_t flows = std::min(1'000'000u, std::max(options_.flows_max, 64'000u));
  const FloodFigures figures = compare_floods(flows, options_.repeats);
  const std::string group = "lookup of tuples made to collide, " + flows_text(flows);
  report_.add({group, "random tuples", figures.random_clk, "clk", Better::lower, {}, {}, ""});
  report_.add({group, "colliding under CRC-32C / random", figures.crc_ratio, "x", Better::lower, 1.3, 1.1, ""});
  report_.add({group, "colliding under Toeplitz / random", figures.toeplitz_ratio, "x", Better::lower, 1.3, 1.1, ""});
}

void Benchmarks::maglev() {
  report_.add({"Maglev, 65537 slots", "build, 1,000 endpoints",
               measure(options_.repeats, [] { return maglev_build_ms(1'000); }), "ms",
               Better::lower, 15, 5, ""});
  const std::uint32_t tries = options_.is_quick ? 2 : 100;
  for (const Leaving leaving : {Leaving::drained, Leaving::removed}) {
    std::vector<double> moved = maglev_moved_shares(leaving, tries);
    for (double& share : moved) share *= 100;
    report_.add({"Maglev, 65537 slots",
                 leaving == Leaving::drained ? "moved beyond need, 1 of 100 fails"
                                             : "moved beyond need, 1 of 100 removed",
                 figure_of(moved),
                 "%",
                 Better::lower,
                 0.6,
                 0.0,
                 "over all choices of the one"});
  }
}

void Benchmarks::latency() {
  const std::uint32_t flows = std::min(100'000u, options_.flows_max);
  const std::uint32_t vips = options_.is_quick ? 50 : 1'000;
  const LatencyFigures figures =
      measure_latency(flows, vips, options_.is_quick ? 2 : 50, options_.is_quick ? 0.02 : 0.05);
  const std::string group = "latency at half load, " + flows_text(flows);
  const auto add = [&](const std::string& what, const Latency& latency, bool has_target) {
    const auto row = [&](const char* name, Figure figure, double must, double aim) {
      Row result{group, what + ", " + name, figure, "us", Better::lower, {}, {}, ""};
      if (has_target && must > 0) result.must = must, result.aim = aim;
      report_.add(std::move(result));
    };
    row("p50", latency.p50, 5, 2);
    row("p99", latency.p99, 20, 10);
    row("p99.9", latency.p999, 100, 50);
    row("max", latency.max, 0, 0);
  };
  const std::string republished = fmt::format("{} VIPs republished", vips);
  report_.add({group, "the CPU is taken away from the loop alone for", figures.stalls.us, "us", Better::lower, {}, {},
               fmt::format("{:.0f} times a second, {:.1f} % of the time", figures.stalls.per_second, figures.stalls.share * 100)});
  add("the loop alone", figures.loop, false);
  add("additions instead of the pipeline", figures.additions, false);
  add("additions, the other CPU adds too", figures.busy, false);
  add("forwarding", figures.quiet, true);
  add(republished, figures.reload, true);
  add("forwarding, beyond additions", figures.quiet_added, true);
  add(republished + ", beyond additions", figures.reload_added, true);
  const auto snapshots = static_cast<double>(figures.snapshots);
  report_.add({group,
               "snapshots adopted meanwhile",
               {snapshots, snapshots, snapshots},
               "",
               Better::higher,
               {},
               {},
               ""});
}

void Benchmarks::workers() {
  const std::uint32_t flows = std::min(100'000u, options_.flows_max);
  const WorkersFigures figures =
      measure_two_workers(flows, options_.repeats, options_.is_quick ? 3 : 25);
  if (!figures.is_measured) return;
  const std::string group = "two workers at once, " + flows_text(flows) + " each";
  const auto add = [&](const char* name, Figure figure, std::optional<double> must, const char* note) {
    report_.add({group, name, figure, "x", Better::lower, must, {}, note});
  };
  add("bare additions, together / alone", figures.bare, {},
      "near 1: the CPUs are cores of their own; near 2: threads of one core");
  add("FULL_NAT, first worker, together / alone", figures.first, 1.05, "");
  add("FULL_NAT, second worker, together / alone", figures.second, 1.05, "");
}

void Benchmarks::with_io() {
  constexpr std::uint32_t flows = 1'000;
  const std::string path = options_.capture.empty()
                               ? "/tmp/sluice-bench-" + std::to_string(getpid()) + ".pcap"
                               : options_.capture;
  write_capture(path, flows, 8'000);
  report_.add({"with I/O, looped capture to null",
               "worker, FULL_NAT of UDP, 1 k flows",
               measure_worker(path, flows, options_.repeats, options_.is_quick ? 0.05 : 0.5),
               "clk",
               Better::lower,
               {},
               {},
               ""});
  if (options_.capture.empty()) std::remove(path.c_str());
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

void add_facts(Report& report, const std::string& command) {
  utsname kernel{};
  uname(&kernel);
  report.add_fact("machine", cpu_model());
  report.add_fact("kernel", fmt::format("{} {}", kernel.sysname, kernel.release));
  report.add_fact("compiler", "g++ " __VERSION__);
  report.add_fact("dpdk", rte_version());
  report.add_fact("sluice", SLUICE_VERSION);
  report.add_fact("tsc_mhz", fmt::format("{:.2f}", tsc_hz() / 1e6));
  report.add_fact("command", command);
}

bool start_eal(std::uint32_t flows_max) {
  const char* arguments[] = {"sluice-bench",    "--no-huge",           "--no-shconf", "--no-pci",
                             "--no-telemetry",  "--log-level=*:error", "-m",          "512",
                             "--lcores=0@(0-1)"};
  if (rte_eal_init(std::size(arguments), const_cast<char**>(arguments)) < 0) return false;
  // Enough for rte_hash with two keys a flow. DPDK touches all of it at once.
  make_dpdk_heap(std::size_t{flows_max} * 112 + (64u << 20));
  return true;
}

}  // namespace
}  // namespace sluice::perf

int main(int argc, char** argv) {
  using namespace sluice::perf;
  Options options;
  sluice::CommandLine command_line(
      "What Sluice costs on this machine, beside the floor. Ends with 1 on a broken packet, never "
      "on time.");
  command_line.add("--flows", options.flows_max, "the largest number of flows; 10 M take 5 GB")
      .between(1'000, 20'000'000);
  command_line.add("--repeats", options.repeats, "samples of each figure").between(1, 1'000);
  command_line.add("--json", options.json, "also write the rows to this file");
  command_line.add("--capture", options.capture,
                   "keep the capture of the I/O benchmark in this file");
  command_line.add("--quick", options.is_quick,
                   "a smoke run: every benchmark, small and short; its figures mean little");
  struct Benchmark {
    const char* name;
    void (Benchmarks::*run)();
  };
  static constexpr Benchmark all[] = {
      {"path", &Benchmarks::packet_path}, {"modes", &Benchmarks::modes},
      {"sizes", &Benchmarks::sizes},      {"new", &Benchmarks::new_flows},
      {"splices", &Benchmarks::splices},  {"prefixes", &Benchmarks::prefixes},
      {"connections", &Benchmarks::connections},
      {"refused", &Benchmarks::refusals}, {"memory", &Benchmarks::memory},
      {"lookup", &Benchmarks::lookups},   {"maglev", &Benchmarks::maglev},
      {"latency", &Benchmarks::latency},  {"workers", &Benchmarks::workers},
      {"io", &Benchmarks::with_io},
  };
  std::vector<std::string> names;
  for (const Benchmark& benchmark : all) names.emplace_back(benchmark.name);
  command_line.add("--only", options.only, "these benchmarks only").one_of(names);
  command_line.add("--patience", options.patience_seconds, "seconds that a row may wait for the core to be left alone")
      .between(0, 600);
  command_line.add("--mode", options.mode, "of the modes those whose name begins so, DSR_GUE for example");
  if (const auto status = command_line.parse(argc, argv)) return *status;
  if (options.is_quick) {
    options.flows_max = std::min(options.flows_max, 10'000u);
    options.repeats = std::min(options.repeats, 3);
    options.patience_seconds = 0;
  }
  be_patient(options.patience_seconds);
  if (!start_eal(std::max(options.flows_max, 64'000u))) return 1;

  Report report(!options.is_quick);
  std::string command;
  for (int i = 0; i < argc; ++i) command += (i == 0 ? "" : " ") + std::string(argv[i]);
  add_facts(report, command);
  fmt::print("TSC {:.1f} MHz, core {:.2f} GHz; clk are TSC cycles per packet on one core\n",
             tsc_hz() / 1e6, calibration().usual_ghz);
  Benchmarks benchmarks(options, report);
  for (const Benchmark& benchmark : all) {
    const bool is_wanted =
        options.only.empty() ||
        std::find(options.only.begin(), options.only.end(), benchmark.name) != options.only.end();
    if (is_wanted) (benchmarks.*benchmark.run)();
  }
  report.print_summary();
  const Calibration& core = calibration();
  const std::string rounds =
      fmt::format("{} kept, {} rejected; the core gave at least {:.2f} of its usual throughput",
                  core.kept, core.rejected, core.lowest_share);
  fmt::print("Core clock {:.2f} GHz. Rounds: {}.\n", core.usual_ghz, rounds);
  report.add_fact("core_ghz", fmt::format("{:.2f}", core.usual_ghz));
  report.add_fact("rounds", rounds);
  if (options.json.empty()) return 0;
  const std::string error = report.write_json(options.json);
  if (!error.empty()) fmt::print(stderr, "sluice-bench: {}\n", error);
  return error.empty() ? 0 : 1;
}
