#include "mgmt/shell/completion.h"

#include <fmt/core.h>

#include <algorithm>

#include "mgmt/shell/words.h"

namespace sluice {
namespace {

// More than this is no help on a screen; Tab after one more letter shows fewer.
constexpr std::size_t listed_count_max = 60;

std::string common_prefix(const std::vector<Candidate>& candidates) {
  std::string prefix = candidates.front().text;
  for (const Candidate& candidate : candidates) {
    const auto [mine, theirs] =
        std::mismatch(prefix.begin(), prefix.end(), candidate.text.begin(), candidate.text.end());
    prefix.erase(mine, prefix.end());
  }
  // Not half of a UTF-8 character: the next byte of one may not be a continuation.
  const auto ends_inside_character = [&] {
    return std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
      return c.text.size() > prefix.size() &&
             (static_cast<unsigned char>(c.text[prefix.size()]) & 0xc0) == 0x80;
    });
  };
  while (!prefix.empty() && ends_inside_character()) prefix.pop_back();
  return prefix;
}

std::string two_column_list(const std::vector<Candidate>& candidates, std::size_t width) {
  std::size_t left = 0;
  for (const Candidate& candidate : candidates) {
    left = std::max(left, display_width(printable(candidate.text)));
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(candidates.size(), listed_count_max); ++i) {
    const std::string name = printable(candidates[i].text);
    std::string line = "  " + name;
    if (!candidates[i].help.empty()) {
      line += std::string(left - display_width(name) + 2, ' ') + printable(candidates[i].help);
    }
    // A help text that runs over the edge is folded under itself.
    if (width > left + 30 && display_width(line) > width) {
      const auto parts = wrapped(printable(candidates[i].help), width - left - 4);
      line = "  " + name + std::string(left - display_width(name) + 2, ' ') + parts.front();
      for (std::size_t part = 1; part < parts.size(); ++part) {
        line += "\n" + std::string(left + 4, ' ') + parts[part];
      }
    }
    text += line + "\n";
  }
  if (candidates.size() > listed_count_max) {
    text += fmt::format("  ... and {} more\n", candidates.size() - listed_count_max);
  }
  return text;
}

}  // namespace

LineEditor::Insertion complete_line(const Grammar& grammar, const NameSource& names,
                                    std::string_view line_to_cursor, const TextStyle& style) {
  const PartialLine line = split_partial(line_to_cursor);
  if (line.is_in_comment) return {};
  const Continuation next = grammar.next(line.words, line.partial, names, false);
  if (!next.problem.empty()) return {"", "  " + printable(next.problem) + "\n"};
  const auto& candidates = next.candidates;
  if (candidates.empty()) return {};
  const std::string prefix = common_prefix(candidates);
  std::string text = quoted_word(std::string_view(prefix).substr(line.partial.size()));
  if (candidates.size() == 1) {
    if (!prefix.ends_with('/') && !prefix.ends_with('.')) text += ' ';
    return {std::move(text), ""};
  }
  if (!text.empty()) return {std::move(text), ""};
  return {"", two_column_list(candidates, style.width)};
}

std::string explain_line(const Grammar& grammar, const NameSource& names,
                         std::string_view line_to_cursor, const TextStyle& style) {
  const PartialLine line = split_partial(line_to_cursor);
  if (line.is_in_comment) return {};
  Continuation next = grammar.next(line.words, line.partial, names, true);
  if (!next.problem.empty()) return "  " + printable(next.problem) + "\n";
  if (!next.runs.empty()) next.candidates.push_back({"<Enter>", next.runs, true});
  if (next.candidates.empty()) {
    return line.partial.empty()
               ? "  nothing may come next\n"
               : fmt::format("  nothing begins with '{}' here\n", printable(line.partial));
  }
  return two_column_list(next.candidates, style.width);
}

}  // namespace sluice
