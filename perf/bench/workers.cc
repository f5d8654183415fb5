#include "perf/bench/workers.h"

#include <pthread.h>
#include <sched.h>

#include <barrier>
#include <functional>
#include <thread>

#include "perf/bench/packet_path.h"

namespace sluice::perf {
namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// `work` on a thread of its own that stays on `cpu`.
std::thread on_cpu(int cpu, std::function<void()> work) {
  return std::thread([cpu, work = std::move(work)] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    work();
  });
}

}  // namespace

WorkersFigures measure_two_workers(std::uint32_t flows, int repeats, int batches) {
  const std::vector<int> cpus = allowed_cpus();
  WorkersFigures figures;
  if (cpus.size() < 2) return figures;
  Setup setup;
  setup.flows = flows;
  Rig first(setup), second(setup);
  const std::function<double()> packets[] = {[&] { return established(first); },
                                             [&] { return established(second); }};
  const std::function<double()> additions = [] { return 1 / parallel_adds_per_clk(); };
  const int worker_cpus[] = {cpus.front(), cpus.back()};

  const auto alone = [&](int cpu, const std::function<double()>& batch) {
    double clk = 0;
    on_cpu(cpu, [&] {
      batch();
      std::vector<double> samples;
      for (int i = 0; i < batches; ++i) samples.push_back(batch());
      clk = median_of(samples);
    }).join();
    return clk;
  };
  // Batch by batch in step, so that neither ever runs beside a CPU that has finished.
  const auto together = [&](const std::function<double()>& a, const std::function<double()>& b) {
    std::vector<double> samples[2];
    std::barrier step(2);
    const auto run = [&](std::vector<double>& mine, const std::function<double()>& batch) {
      batch();
      for (int i = 0; i < batches; ++i) {
        step.arrive_and_wait();
        mine.push_back(batch());
      }
    };
    std::thread one = on_cpu(worker_cpus[0], [&] { run(samples[0], a); });
    std::thread other = on_cpu(worker_cpus[1], [&] { run(samples[1], b); });
    one.join();
    other.join();
    return std::pair{median_of(samples[0]), median_of(samples[1])};
  };

  std::vector<double> ratios[2], bare;
  for (int round = 0; round < repeats; ++round) {
    const double lone[] = {alone(worker_cpus[0], packets[0]), alone(worker_cpus[1], packets[1])};
    const auto [clk_first, clk_second] = together(packets[0], packets[1]);
    ratios[0].push_back(clk_first / lone[0]);
    ratios[1].push_back(clk_second / lone[1]);
    const double lone_additions = alone(worker_cpus[0], additions);
    bare.push_back(together(additions, additions).first / lone_additions);
  }
  figures.is_measured = true;
  figures.first = figure_of(ratios[0]);
  figures.second = figure_of(ratios[1]);
  figures.bare = figure_of(bare);
  return figures;
}

}  // namespace sluice::perf
