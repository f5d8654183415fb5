#include "mgmt/shell/suggest.h"

#include <algorithm>

#include "mgmt/model/suggest.h"

namespace sluice {
namespace {

std::string folded(std::string_view word) {
  std::string result(word);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '_') c = '-';
  }
  return result;
}

}  // namespace

std::string closest_name(std::string_view word, const std::vector<std::string>& names) {
  const std::string wanted = folded(word);
  std::vector<std::string> candidates;
  for (const std::string& name : names) candidates.push_back(folded(name));
  auto found = candidates.end();
  if (wanted.size() >= 2) {
    found = std::find_if(candidates.begin(), candidates.end(),
                         [&](const std::string& name) { return name.starts_with(wanted); });
  }
  if (found == candidates.end()) {
    const std::string near = closest(wanted, candidates);
    if (near.empty()) return {};
    found = std::find(candidates.begin(), candidates.end(), near);
  }
  return names[static_cast<std::size_t>(found - candidates.begin())];
}

}  // namespace sluice
