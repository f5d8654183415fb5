#include <fmt/core.h>

#include <random>

#include "perf/common/command_line.h"
#include "tests/tools/storm.h"

int main(int argc, char** argv) {
  sluice::CommandLine command("Random and mutated packets against the pipeline, in process, beside 100 live flows.");
  sluice::StormOptions options;
  options.seed = std::random_device{}();
  std::string layers = "all";
  command.add("--count", options.count, "packets");
  command.add("--seed", options.seed, "the same seed sends the same packets; default: a new one");
  command.add("--class", layers, "what is spoilt: l2, l3, l4 or all").one_of({"l2", "l3", "l4", "all"});
  if (const auto status = command.parse(argc, argv)) return *status;
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
