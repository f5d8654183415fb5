#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <random>

#include "tests/tools/storm.h"

int main(int argc, char** argv) {
  CLI::App app("Random and mutated packets against the pipeline, in process, beside 100 live flows.");
  sluice::StormOptions options;
  options.seed = std::random_device{}();
  std::string layers = "all";
  app.add_option("--count", options.count, "packets")->capture_default_str();
  app.add_option("--seed", options.seed, "the same seed sends the same packets; default: a new one");
  app.add_option("--class", layers, "what is spoilt: l2, l3, l4 or all")->check(CLI::IsMember({"l2", "l3", "l4", "all"}));
  CLI11_PARSE(app, argc, argv);
  options.spoils_l2 = layers == "all" || layers == "l2";
  options.spoils_l3 = layers == "all" || layers == "l3";
  options.spoils_l4 = layers == "all" || layers == "l4";

  fmt::print("storm --count {} --seed {} --class {}\n", options.count, options.seed, layers);
  const auto report = sluice::run_storm(options);
  if (!report) {
    fmt::print("{}\n", report.error().message);
    return 1;
  }
  for (const auto& [name, packets] : report->verdicts) fmt::print("{:32} {:>12}\n", name, packets);
  for (const std::string& fault : report->faults) fmt::print("fault: {}\n", fault);
  fmt::print("{} packets; live flows: {} packets, {} wrong; {} faults\n", report->packets, report->live_packets, report->live_wrong,
             report->faults.size());
  return report->live_wrong == 0 && report->faults.empty() ? 0 : 1;
}
