// The difference of two texts by lines, as `diff -u` shows it but without headers: ' ', '-' or '+'
// and the line. Lines that are equal and further than `context` from a change are left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

std::vector<std::string> diff_lines(std::string_view before, std::string_view after,
                                    std::size_t context = 3);

}  // namespace sluice
