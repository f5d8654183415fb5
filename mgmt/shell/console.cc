#include "mgmt/shell/console.h"

#include <fmt/core.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace sluice {
namespace {

constexpr std::size_t terminal_width_default = 80;

std::string_view escape_of(Console::Tint tint) {
  switch (tint) {
    case Console::Tint::added:
      return "\x1b[32m";
    case Console::Tint::removed:
      return "\x1b[31m";
    case Console::Tint::changed:
      return "\x1b[33m";
    case Console::Tint::bold:
      return "\x1b[1m";
  }
  return "";
}

Console::Sink sink_to(std::FILE* file) {
  return [file](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
  };
}

}  // namespace

std::string Console::tinted(Tint tint, std::string_view text) const {
  if (!style_.has_color) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(tint), text);
}

TextStyle Console::standard_style() {
  if (isatty(STDOUT_FILENO) == 0) return {};
  TextStyle style;
  const char* no_color = getenv("NO_COLOR");  // https://no-color.org: any value but the empty one
  const char* terminal = getenv("TERM");
  style.has_color = (no_color == nullptr || *no_color == '\0') &&
                    (terminal == nullptr || std::string_view(terminal) != "dumb");
  winsize size{};
  const bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  style.width = is_known ? size.ws_col : terminal_width_default;
  return style;
}

Console Console::standard() {
  return {sink_to(stdout), sink_to(stderr), standard_style()};
}

}  // namespace sluice
