#include "perf/bench/measure.h"

#include <algorithm>

namespace sluice::perf {
namespace {

constexpr double share_of_usual_min = 0.9;

Calibration state;

double usual_adds_per_clk() {
  static const double usual = [] {
    double best = 0;
    for (int i = 0; i < 20; ++i) best = std::max(best, adds_per_clk());
    state.usual_ghz = state.lowest_ghz = best * tsc_hz() / 1e9;
    return best;
  }();
  return usual;
}

}  // namespace

double wall_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double tsc_hz() {
  static const double hz = [] {
    const double t0 = wall_seconds();
    const std::uint64_t c0 = tsc();
    while (wall_seconds() - t0 < 0.1) {
    }
    return static_cast<double>(tsc() - c0) / (wall_seconds() - t0);
  }();
  return hz;
}

double adds_per_clk() {
  constexpr std::uint64_t adds = 4'000'000;
  std::uint64_t x = 1;
  const std::uint64_t begin = tsc();
  for (std::uint64_t i = 0; i < adds / 8; ++i) {
    asm volatile(
        "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\t"
        "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0"
        : "+r"(x));
  }
  return static_cast<double>(adds) / static_cast<double>(tsc() - begin);
}

double median_of(std::vector<double> samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

Figure figure_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples.front(), samples.back()};
}

const Calibration& calibration() {
  usual_adds_per_clk();
  return state;
}

std::vector<std::vector<double>> take_turns(int repeats, const std::vector<Sample>& contestants) {
  const double usual = usual_adds_per_clk();
  std::vector<std::vector<double>> kept(contestants.size()), spare(contestants.size());
  int rounds = 0;
  for (int tries = 0; rounds < repeats && tries < 3 * repeats; ++tries) {
    double slowest = adds_per_clk();
    std::vector<double> round;
    for (const Sample& sample : contestants) {
      round.push_back(sample());
      slowest = std::min(slowest, adds_per_clk());
    }
    const bool is_good = slowest >= share_of_usual_min * usual;
    for (std::size_t i = 0; i < round.size(); ++i) (is_good ? kept : spare)[i].push_back(round[i]);
    if (!is_good) {
      ++state.rejected;
      continue;
    }
    ++rounds;
    ++state.kept;
    state.lowest_ghz = std::min(state.lowest_ghz, slowest * tsc_hz() / 1e9);
  }
  return rounds > 0 ? kept : spare;
}

Figure ratio_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  return figure_of(ratios);
}

}  // namespace sluice::perf
