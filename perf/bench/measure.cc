#include "perf/bench/measure.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>

namespace sluice::perf {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double share_of_usual_min = 0.9;
constexpr double attempts_max = 3;  // rounds for each that is wanted, when there is no patience
// Between looks at the core, and after a bad round: what disturbs lasts longer than a round. Nothing depends on its length: every
// round is judged by itself, whenever it is taken.
constexpr Seconds pause{0.02};

Calibration state;
Seconds patience{0};

// The best that was ever seen: what is taken from us in the first second may not pass for usual.
double usual_throughput = 0;

double throughput_now() {
  const double throughput = parallel_adds_per_clk();
  usual_throughput = std::max(usual_throughput, throughput);
  return throughput;
}

// Looks at the core for half a second, or for a third of what a row may wait.
void look_at_core() {
  double clock = 0;
  const auto end = Clock::now() + std::max(Seconds{0.5}, patience / 3);
  while (Clock::now() < end) {
    throughput_now();
    clock = std::max(clock, adds_per_clk());
    std::this_thread::sleep_for(pause);
  }
  state.usual_ghz = clock * tsc_hz() / 1e9;
}

struct Round {
  std::size_t index;
  double throughput;  // at the worst moment
};

}  // namespace

// What is added lies in a register: an addition of a constant costs some cores nothing (they add it up while they rename
// registers), and 12 GHz would be read here where there are 3.
double adds_per_clk() {
  constexpr std::uint64_t adds = 2'000'000;
  std::uint64_t x = 1, one = 1;
  const std::uint64_t begin = tsc();
  for (std::uint64_t i = 0; i < adds / 8; ++i) {
    asm volatile(
        "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\t"
        "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0"
        : "+r"(x)
        : "r"(one));
  }
  return static_cast<double>(adds) / static_cast<double>(tsc() - begin);
}

double parallel_adds_per_clk() {
  constexpr std::uint64_t adds = 8'000'000;
  std::uint64_t a = 1, b = 1, c = 1, d = 1, e = 1, f = 1, one = 1;
  const std::uint64_t begin = tsc();
  for (std::uint64_t i = 0; i < adds / 12; ++i) {
    asm volatile(
        "add %6, %0\n\tadd %6, %1\n\tadd %6, %2\n\tadd %6, %3\n\tadd %6, %4\n\tadd %6, %5\n\t"
        "add %6, %0\n\tadd %6, %1\n\tadd %6, %2\n\tadd %6, %3\n\tadd %6, %4\n\tadd %6, %5"
        : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f)
        : "r"(one));
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

void be_patient(double seconds) { patience = Seconds{seconds}; }

const Calibration& calibration() {
  if (state.usual_ghz == 0) look_at_core();
  return state;
}

std::vector<std::size_t> play_rounds(int wanted, const std::vector<std::function<void()>>& contestants) {
  calibration();
  const auto enough = static_cast<std::size_t>(wanted);
  std::vector<Round> rounds;
  // Counted anew each time: what is usual may turn out to be more than was thought.
  const auto good_rounds = [&] {
    return static_cast<std::size_t>(std::count_if(rounds.begin(), rounds.end(), [](const Round& round) {
      return round.throughput >= share_of_usual_min * usual_throughput;
    }));
  };
  const auto begin = Clock::now();
  const auto is_worth_another = [&] {
    const Seconds spent = Clock::now() - begin;
    const Seconds each = spent / static_cast<double>(std::max<std::size_t>(1, rounds.size()));
    return rounds.size() < enough || spent < patience + attempts_max * static_cast<double>(enough) * each;
  };
  while (good_rounds() < enough && is_worth_another()) {
    if (!rounds.empty() && rounds.back().throughput < share_of_usual_min * usual_throughput) {
      std::this_thread::sleep_for(std::min(pause, patience));
    }
    Round round{rounds.size(), throughput_now()};
    for (const auto& take_turn : contestants) {
      take_turn();
      round.throughput = std::min(round.throughput, throughput_now());
    }
    rounds.push_back(round);
  }
  std::stable_sort(rounds.begin(), rounds.end(),
                   [](const Round& a, const Round& b) { return a.throughput > b.throughput; });
  const std::size_t kept =
      std::min(rounds.size(), std::max<std::size_t>(good_rounds(), std::min<std::size_t>(3, enough)));
  state.kept += static_cast<int>(kept);
  state.rejected += static_cast<int>(rounds.size() - kept);
  state.lowest_share = std::min(state.lowest_share, rounds[kept - 1].throughput / usual_throughput);
  std::vector<std::size_t> indices;
  for (const Round& round : std::span(rounds).first(kept)) indices.push_back(round.index);
  return indices;
}

std::vector<std::vector<double>> take_turns(int repeats, const std::vector<Sample>& contestants) {
  std::vector<std::vector<double>> taken(contestants.size()), samples(contestants.size());
  std::vector<std::function<void()>> turns;
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    turns.push_back([&sample = contestants[i], &all = taken[i]] { all.push_back(sample()); });
  }
  for (const std::size_t round : play_rounds(repeats, turns)) {
    for (std::size_t i = 0; i < contestants.size(); ++i) samples[i].push_back(taken[i][round]);
  }
  return samples;
}

Figure ratio_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  return figure_of(ratios);
}

Figure difference_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < a.size(); ++i) differences.push_back(a[i] - b[i]);
  return figure_of(differences);
}

}  // namespace sluice::perf
