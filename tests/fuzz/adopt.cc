// libFuzzer: the flow file of a process that has died, damaged by a script (../traces/leftovers.h), is taken over by the
// next. Nothing falls over, and what goes on goes on exactly.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/scene.h"
#include "tests/traces/leftovers.h"

using sluice::trace::Leftovers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const auto left = [] {
    auto created = Leftovers::create("/dev/shm/sluice-fuzz-adopt-" + std::to_string(getpid()));
    if (!created) {
      std::fprintf(stderr, "%s\n", created.error().message.c_str());
      std::abort();
    }
    return std::move(*created);
  }();
  const std::string fault = left->damage_and_take_over({data, bytes});
  if (fault.empty()) return 0;
  std::fprintf(stderr, "%s\n", fault.c_str());
  std::abort();
}
