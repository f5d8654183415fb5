// For tests of properties: a seeded generator, and how often to try.
//
// The seed is new in each run, printed when a test fails, and given again with SLUICE_SEED=N.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace sluice::test {

inline std::uint64_t run_seed() {
  static const std::uint64_t seed = [] {
    const char* given = std::getenv("SLUICE_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  }();
  return seed;
}

class Random {
 public:
  explicit Random(std::uint64_t salt) : engine_(run_seed() * 0x9e3779b97f4a7c15ull + salt) {}
  std::uint64_t word() { return engine_(); }
  std::uint64_t below(std::uint64_t end) { return engine_() % end; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

// Sanitized code runs an order of magnitude slower.
constexpr std::uint64_t tries(std::uint64_t count) {
#ifdef __SANITIZE_ADDRESS__
  return count / 10;
#else
  return count;
#endif
}

}  // namespace sluice::test

#define SLUICE_TRACE_SEED() SCOPED_TRACE("replay with SLUICE_SEED=" + std::to_string(sluice::test::run_seed()))
