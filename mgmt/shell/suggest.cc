#include "mgmt/shell/suggest.h"

#include <algorithm>
#include <limits>
#include <vector>

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

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: the one before the last is needed for swaps.
  std::vector<std::size_t> older(b.size() + 1), old(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) old[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = old[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({old[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], older[j - 2] + 1);
      }
    }
    std::swap(older, old);
    std::swap(old, row);
  }
  return old[b.size()];
}

std::string closest_name(std::string_view word, std::span<const std::string> names) {
  if (word.empty()) return {};
  const std::string wanted = folded(word);
  std::string best;
  std::size_t best_distance = std::numeric_limits<std::size_t>::max();
  for (const std::string& name : names) {
    const std::string candidate = folded(name);
    const bool begins = wanted.size() >= 2 && candidate.starts_with(wanted);
    const std::size_t distance = begins ? 1 : edit_distance(wanted, candidate);
    const std::size_t limit =
        std::max<std::size_t>(1, std::max(wanted.size(), candidate.size()) / 3);
    // A one-letter word is within one edit of every other one: that is no evidence.
    if (!begins && (distance > limit || distance >= wanted.size())) continue;
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

}  // namespace sluice
