// "Did you mean ...?": the known name closest to a misspelt one.
// Pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

// Edits (insert, delete, replace, swap two neighbours) that turn one word into the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The closest name, or "" when none is close enough to be what was meant: a name that begins with
// the word, or one within a third of the word's length in edits. Case and '_' versus '-' cost
// nothing. Of equally close names the first wins.
std::string closest_name(std::string_view word, std::span<const std::string> names);

}  // namespace sluice
