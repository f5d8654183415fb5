// Console: where a command writes. Answers go to out() and everything else (errors, warnings,
// notes) to err(), so that a pipe carries answers only. Threads: one. Lifetime: the functions given
// must outlive it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "mgmt/shell/table.h"

namespace sluice {

class Console {
 public:
  using Sink = std::function<void(std::string_view)>;
  Console(Sink out, Sink err, TextStyle style)
      : out_(std::move(out)), err_(std::move(err)), style_(style) {}

  void out(std::string_view text) const { out_(text); }
  void err(std::string_view text) const { err_(text); }
  // Width 0 unless it is a terminal; no colour unless it is one and NO_COLOR is not set.
  const TextStyle& style() const { return style_; }
  void set_style(TextStyle style) { style_ = style; }
  bool is_terminal() const { return style_.width > 0; }

  enum class Tint : unsigned char { added, removed, changed, bold };
  std::string tinted(Tint tint, std::string_view text) const;

  // The process's own stdout and stderr, and what they are.
  static Console standard();
  static TextStyle standard_style();

 private:
  Sink out_, err_;
  TextStyle style_;
};

}  // namespace sluice
