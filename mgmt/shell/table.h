// Table: rows of text under a header, aligned by what a terminal shows (UTF-8, wide characters).
//   Table table({{"NAME"}, {"PACKETS", Align::right}});
//   table.add({"web-1", "12.3k"});
//   console.out(table.text(console.style()));
// Threads: none shared. Errors: none; control characters in a cell are shown as '?', so that a name
// from outside cannot drive the operator's terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

enum class Align : std::uint8_t { left, right };

struct Column {
  std::string_view title;
  Align align = Align::left;
  // When the terminal is too narrow, columns go in descending order of this; 0 stays.
  unsigned drop_rank = 0;
  // Left out when no row has anything in it.
  bool hides_when_empty = false;
  // Wrapped into several lines when the terminal is too narrow. For the last column only.
  bool wraps = false;
};

struct TextStyle {
  bool has_color = false;
  std::size_t width = 0;  // columns of the terminal; 0: not a terminal, no limit
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);
  void add(std::vector<std::string> cells);  // as many as there are columns
  bool is_empty() const { return rows_.empty(); }
  std::string text(const TextStyle& style) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns a terminal needs for this text: combining marks 0, wide East Asian letters and emoji 2,
// each byte that is not UTF-8 1.
std::size_t display_width(std::string_view text);

// The text without control characters ('?' stands for each).
std::string printable(std::string_view text);

// Lines of at most `width` columns, broken at spaces; a longer word stays whole.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

}  // namespace sluice
