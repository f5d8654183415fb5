// Splits a line of the interactive shell into words: spaces separate, '...' and "..." and backslash
// quote, # begins a comment where a word would begin.
// Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice {

// Fails on an open quote.
Result<std::vector<std::string>> split_words(std::string_view line);

// The line up to the cursor, for completion: the finished words and the one being typed ("" after a
// space). An open quote is simply still being typed.
struct PartialLine {
  std::vector<std::string> words;
  std::string partial;
  bool is_in_comment = false;
};
PartialLine split_partial(std::string_view line_to_cursor);

// The word as it must be typed: with a backslash before what would otherwise quote or separate.
std::string quoted_word(std::string_view word);

}  // namespace sluice
