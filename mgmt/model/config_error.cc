#include "mgmt/model/config_error.h"

namespace sluice {

std::string ConfigError::text() const {
  std::string out = file;
  if (line > 0) out += (out.empty() ? "line " : ":") + std::to_string(line);
  if (column > 0) out += ":" + std::to_string(column);
  if (!out.empty()) out += ": ";
  if (!path.empty()) out += path + ": ";
  out += message;
  if (!expected.empty()) out += "; expected " + expected;
  if (!suggestion.empty()) out += "; did you mean '" + suggestion + "'?";
  return out;
}

}  // namespace sluice
