// rte_hash and our own flow table side by side: from a five-tuple to its record, 32 at a time.
#pragma once

#include <cstdint>

#include "perf/bench/measure.h"

namespace sluice::perf {

struct LookupFigures {
  Figure rte_hash_clk, conntrack_clk;      // per lookup, hashing and touching the record included
  Figure ratio;                            // ours over rte_hash's
  double rte_hash_bytes, conntrack_bytes;  // per flow, record included
};

// `flows` flows with both directions in the table; random keys, all of them there.
LookupFigures compare_lookups(std::uint32_t flows, int repeats);

// Lookups of tuples that were made to collide under an unkeyed hash, beside those of random ones.
struct FloodFigures {
  Figure random_clk;
  Figure crc_ratio, toeplitz_ratio;
};
FloodFigures compare_floods(std::uint32_t flows, int repeats);

}  // namespace sluice::perf
