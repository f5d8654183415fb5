// Limits of the tables that are compiled from a configuration. Validation refuses what is above
// them; mgmt/compile asserts that they are those of dataplane/tables.
#pragma once

#include <cstdint>

namespace sluice::limits {

inline constexpr std::uint32_t routes = 1'024;
inline constexpr std::uint32_t vips = 16'384;
inline constexpr std::uint32_t endpoints = 131'072;  // of all clusters together

}  // namespace sluice::limits
