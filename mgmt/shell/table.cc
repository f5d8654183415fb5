#include "mgmt/shell/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "dataplane/base/assert.h"

namespace sluice {
namespace {

constexpr std::size_t gap_width = 2;
constexpr std::size_t wrapped_width_min = 24;  // a narrower column of prose is not readable

struct CodePointRange {
  char32_t first, last;  // both included
};

// Not the whole of Unicode's tables: the blocks that turn up in names and in text.
constexpr std::array wide_ranges = {
    CodePointRange{0x1100, 0x115f},   CodePointRange{0x2e80, 0x303e},
    CodePointRange{0x3041, 0xa4cf},   CodePointRange{0xac00, 0xd7a3},
    CodePointRange{0xf900, 0xfaff},   CodePointRange{0xfe30, 0xfe6f},
    CodePointRange{0xff00, 0xff60},   CodePointRange{0xffe0, 0xffe6},
    CodePointRange{0x1f300, 0x1f64f}, CodePointRange{0x1f680, 0x1f6ff},
    CodePointRange{0x1f900, 0x1f9ff}, CodePointRange{0x20000, 0x3fffd},
};
constexpr std::array zero_ranges = {
    CodePointRange{0x0300, 0x036f}, CodePointRange{0x1ab0, 0x1aff}, CodePointRange{0x1dc0, 0x1dff},
    CodePointRange{0x200b, 0x200f}, CodePointRange{0x20d0, 0x20ff}, CodePointRange{0xfe00, 0xfe0f},
    CodePointRange{0xfe20, 0xfe2f},
};

template <std::size_t N>
bool is_in(char32_t c, const std::array<CodePointRange, N>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const CodePointRange& r) { return c >= r.first && c <= r.last; });
}

struct CodePoint {
  char32_t value;
  std::size_t bytes;
  bool is_valid;
};

// The code point at the start of `text`, which is not empty. A broken sequence counts byte by byte.
CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || bytes > text.size()) return {lead, 1, false};
  char32_t value = lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {lead, 1, false};
    value = (value << 6) | (byte(i) & 0x3fu);
  }
  return {value, bytes, true};
}

bool is_control(const CodePoint& c) {
  return c.is_valid && (c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa0));
}

std::string padded(std::string_view text, std::size_t width, Align align) {
  const std::size_t used = display_width(text);
  const std::string spaces(width > used ? width - used : 0, ' ');
  return align == Align::right ? spaces + std::string(text) : std::string(text) + spaces;
}

// Which columns are shown, and how wide the last one may be (0: as wide as it is).
struct Layout {
  std::vector<std::size_t> shown;
  std::vector<std::size_t> widths;  // by position in `shown`
  std::vector<std::string_view> dropped;

  std::size_t total() const {
    std::size_t sum = shown.empty() ? 0 : gap_width * (shown.size() - 1);
    for (const std::size_t width : widths) sum += width;
    return sum;
  }
};

// True when the layout fits; a last column that wraps is narrowed for it.
bool fit(Layout& layout, const std::vector<Column>& columns, std::size_t width) {
  if (width == 0 || layout.total() <= width) return true;
  if (layout.shown.empty() || !columns[layout.shown.back()].wraps) return false;
  std::size_t& last = layout.widths.back();
  const std::size_t others = layout.total() - last;
  if (others + wrapped_width_min > width) return false;
  last = width - others;
  return true;
}

Layout choose_layout(const std::vector<Column>& columns,
                     const std::vector<std::vector<std::string>>& rows, std::size_t width) {
  Layout layout;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    std::size_t widest = 0;
    for (const auto& row : rows) widest = std::max(widest, display_width(row[i]));
    if (widest == 0 && columns[i].hides_when_empty) continue;
    layout.shown.push_back(i);
    layout.widths.push_back(std::max(widest, display_width(columns[i].title)));
  }
  while (!fit(layout, columns, width)) {
    const auto least = std::max_element(
        layout.shown.begin(), layout.shown.end(),
        [&](auto a, auto b) { return columns[a].drop_rank < columns[b].drop_rank; });
    if (least == layout.shown.end() || columns[*least].drop_rank == 0) break;
    layout.dropped.push_back(columns[*least].title);
    layout.widths.erase(layout.widths.begin() + (least - layout.shown.begin()));
    layout.shown.erase(least);
  }
  return layout;
}

// One table row, which may take several lines when its last cell is wrapped.
std::string render_row(const Layout& layout, const std::vector<Column>& columns,
                       const std::vector<std::string>& cells) {
  std::string line;
  for (std::size_t i = 0; i < layout.shown.size(); ++i) {
    const Column& column = columns[layout.shown[i]];
    const std::string& cell = cells[layout.shown[i]];
    if (i + 1 < layout.shown.size() || !column.wraps) {
      line += padded(cell, layout.widths[i], column.align) + std::string(gap_width, ' ');
      continue;
    }
    const std::string margin(display_width(line), ' ');
    const auto parts = wrapped(cell, layout.widths[i]);
    for (std::size_t part = 0; part < parts.size(); ++part) {
      line += (part == 0 ? "" : "\n" + margin) + parts[part];
    }
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!c.is_valid || !is_in(c.value, zero_ranges)) {
      width += c.is_valid && is_in(c.value, wide_ranges) ? 2 : 1;
    }
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (is_control(c) || !c.is_valid) {
      result += '?';
    } else {
      result += text.substr(0, c.bytes);
    }
    text.remove_prefix(c.bytes);
  }
  return result;
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (word.empty()) continue;
    const bool is_first = lines.back().empty();
    if (!is_first && display_width(lines.back()) + 1 + display_width(word) > width) {
      lines.emplace_back(word);
    } else {
      lines.back() += (is_first ? "" : " ") + std::string(word);
    }
  }
  return lines;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  LB_ASSERT(cells.size() == columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text(const TextStyle& style) const {
  const Layout layout = choose_layout(columns_, rows_, style.width);
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.emplace_back(column.title);
  const std::string header = render_row(layout, columns_, titles);
  std::string result = style.has_color ? "\x1b[1m" + header + "\x1b[0m\n" : header + "\n";
  for (const auto& row : rows_) result += render_row(layout, columns_, row) + "\n";
  if (!layout.dropped.empty()) {
    const std::string note = fmt::format("(not shown at this width: {}; --json has everything)",
                                         fmt::join(layout.dropped, ", "));
    for (const std::string& line : wrapped(note, style.width)) result += line + "\n";
  }
  return result;
}

}  // namespace sluice
