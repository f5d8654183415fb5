// One line an event on standard error: `sluice-dataplane: warning: port inside: link is down`.
// Never called per packet. Thread-safe: a line is one write(2).
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace sluice {

enum class LogLevel { info, warning, error };

void log_line(LogLevel level, std::string_view text);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sluice
