#include "mgmt/shell/words.h"

#include <fmt/core.h>

namespace sluice {
namespace {

struct Split {
  std::vector<std::string> words;
  bool ends_in_word = false;
  bool is_in_comment = false;
  char open_quote = 0;
};

Split split(std::string_view line) {
  Split result;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (result.open_quote == 0 && (c == ' ' || c == '\t' || c == '\r')) {
      result.ends_in_word = false;
      continue;
    }
    if (!result.ends_in_word) {
      if (c == '#') {
        result.is_in_comment = true;
        return result;
      }
      result.words.emplace_back();
      result.ends_in_word = true;
    }
    if (result.open_quote != 0) {
      if (c == result.open_quote) {
        result.open_quote = 0;
      } else {
        result.words.back() += c;
      }
    } else if (c == '\'' || c == '"') {
      result.open_quote = c;
    } else if (c == '\\' && i + 1 < line.size()) {
      result.words.back() += line[++i];
    } else {
      result.words.back() += c;
    }
  }
  return result;
}

}  // namespace

Result<std::vector<std::string>> split_words(std::string_view line) {
  Split result = split(line);
  if (result.open_quote != 0) {
    return fail(
        fmt::format("the line ends inside a quotation: a {} is missing", result.open_quote));
  }
  return std::move(result.words);
}

PartialLine split_partial(std::string_view line_to_cursor) {
  Split result = split(line_to_cursor);
  PartialLine partial;
  partial.is_in_comment = result.is_in_comment;
  if (result.ends_in_word && !result.is_in_comment) {
    partial.partial = std::move(result.words.back());
    result.words.pop_back();
  }
  partial.words = std::move(result.words);
  return partial;
}

std::string quoted_word(std::string_view word) {
  std::string result;
  for (const char c : word) {
    if (c == ' ' || c == '\t' || c == '\'' || c == '"' || c == '\\' || c == '#') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace sluice
