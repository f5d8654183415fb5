#include "dataplane/base/log.h"

#include <errno.h>
#include <unistd.h>

#include <string>

namespace sluice {

void log_line(LogLevel level, std::string_view text) {
  static constexpr std::string_view names[] = {"info", "warning", "error"};
  const std::string line = fmt::format("{}: {}: {}\n", program_invocation_short_name,
                                       names[static_cast<int>(level)], text);
  // A full pipe behind stderr must not stop the caller: what does not fit in one write is lost.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace sluice
