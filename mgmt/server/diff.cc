#include "mgmt/server/diff.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::size_t compared_cells_max =
    4'000'000;  // beyond this the middle is shown as replaced

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string marked(char mark, std::string_view line) {
  std::string text(1, mark);
  text.append(line);
  return text;
}

// The longest common subsequence of the lines between the common head and tail.
void compare_middle(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b,
                    std::vector<std::string>& out) {
  const std::size_t width = b.size() + 1;
  const bool is_small = (a.size() + 1) * width <= compared_cells_max;
  std::vector<std::uint32_t> common(is_small ? (a.size() + 1) * width : 0);
  if (is_small) {
    for (std::size_t i = a.size(); i-- > 0;) {
      for (std::size_t j = b.size(); j-- > 0;) {
        common[i * width + j] =
            a[i] == b[j] ? common[(i + 1) * width + j + 1] + 1
                         : std::max(common[(i + 1) * width + j], common[i * width + j + 1]);
      }
    }
  }
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (is_small && i < a.size() && j < b.size() && a[i] == b[j]) {
      out.push_back(marked(' ', a[i]));
      ++i;
      ++j;
    } else if (i < a.size() && (j == b.size() || !is_small ||
                                common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      out.push_back(marked('-', a[i++]));
    } else {
      out.push_back(marked('+', b[j++]));
    }
  }
}

}  // namespace

std::vector<std::string> diff_lines(std::string_view before, std::string_view after,
                                    std::size_t context) {
  const auto a = split_lines(before);
  const auto b = split_lines(after);
  std::size_t head = 0;
  while (head < a.size() && head < b.size() && a[head] == b[head]) ++head;
  std::size_t tail = 0;
  while (tail + head < a.size() && tail + head < b.size() &&
         a[a.size() - 1 - tail] == b[b.size() - 1 - tail])
    ++tail;

  std::vector<std::string> all;
  for (std::size_t i = 0; i < head; ++i) all.push_back(marked(' ', a[i]));
  const auto at = [](std::size_t index) { return static_cast<std::ptrdiff_t>(index); };
  compare_middle({a.begin() + at(head), a.end() - at(tail)},
                 {b.begin() + at(head), b.end() - at(tail)}, all);
  for (std::size_t i = a.size() - tail; i < a.size(); ++i) all.push_back(marked(' ', a[i]));

  std::vector<std::string> shown;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::size_t first = i > context ? i - context : 0;
    const std::size_t last = std::min(all.size(), i + context + 1);
    const bool is_near = std::any_of(all.begin() + at(first), all.begin() + at(last),
                                     [](const std::string& line) { return line[0] != ' '; });
    if (is_near) shown.push_back(all[i]);
  }
  return shown;
}

}  // namespace sluice
