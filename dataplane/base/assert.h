// LB_ASSERT: for our own mistakes only. It stays on in release builds: a balancer that has lost its
// invariants must stop at once, because the flow records outlive it and the next process adopts them.
#pragma once

#include <cstdio>
#include <cstdlib>

#define LB_ASSERT(condition)                                                                   \
  do {                                                                                         \
    if (__builtin_expect(!(condition), 0)) {                                                   \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition);   \
      std::abort();                                                                            \
    }                                                                                          \
  } while (false)
