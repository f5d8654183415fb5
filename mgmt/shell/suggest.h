// "Did you mean ...?" for what is typed at a prompt: `closest` of mgmt/model, which is for whole
// words in a file, and before it the name that the word is the beginning of. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The name that begins with the word (two letters at least), else the closest one, else "". Case
// and
// '_' versus '-' make no difference. Of equally close names the first wins.
std::string closest_name(std::string_view word, const std::vector<std::string>& names);

}  // namespace sluice
