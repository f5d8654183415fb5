// The TSC, which every figure is counted in, and the wall clock that says how fast it runs.
#pragma once

#include <time.h>
#include <x86intrin.h>

#include <cstdint>

namespace sluice::perf {

inline std::uint64_t tsc() {
  unsigned aux;
  return __rdtscp(&aux);
}

double wall_seconds();

// TSC cycles per second, measured once against CLOCK_MONOTONIC_RAW.
double tsc_hz();

}  // namespace sluice::perf
