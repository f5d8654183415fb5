// The nearest known word to a misspelt one, for "did you mean ...?".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Edits (insert, remove, replace, swap of neighbours) from `a` to `b`, ignoring case.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `word`; empty when none is near enough to be what was meant.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

// "a, b, c"; at most `count_max` of them, then "...".
std::string list_text(const std::vector<std::string>& words, std::size_t count_max = 24);

}  // namespace sluice
