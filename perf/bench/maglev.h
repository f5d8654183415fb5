// The Maglev table as mgmt builds it: how long it takes, and what moves when an endpoint goes.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice::perf {

double maglev_build_ms(std::uint32_t endpoints);

// Share of the slots (0 to 1) that change their endpoint although it is still there, when one of
// 100 leaves; for each choice of the one.
enum class Leaving { drained, removed };
std::vector<double> maglev_moved_shares(Leaving leaving, std::uint32_t tries);

}  // namespace sluice::perf
