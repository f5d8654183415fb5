// The text of advertise_policy.port_ranges: "80,443,8080-8191".
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/port_range.h"

namespace sluice {

inline constexpr std::size_t ports_listed_max = 1'024;  // of one list, ranges counted out

// In rising order, none overlapping another. An error names the item that is wrong.
Result<std::vector<PortRange>> parse_port_ranges(std::string_view text);

}  // namespace sluice
