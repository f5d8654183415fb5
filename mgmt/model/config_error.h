// ConfigError: what is wrong with the operator's text: where, what, what was expected, what was
// meant.
#pragma once

#include <string>
#include <vector>

namespace sluice {

struct ConfigError {
  std::string file;        // empty: not in the text at hand but in the committed configuration
  int line = 0;            // from 1; 0: unknown
  int column = 0;          // from 1; 0: unknown
  std::string path;        // "spec.endpoints[1].name"; empty: the document or the file
  std::string message;     // what is wrong
  std::string expected;    // may be empty
  std::string suggestion;  // the nearest name that exists; may be empty

  // "web.yaml:12:5: spec.port: 70000 is too large; expected 1 to 65535"
  std::string text() const;
  friend bool operator==(const ConfigError&, const ConfigError&) = default;
};

inline constexpr std::size_t config_errors_max = 20;  // shown of one file

}  // namespace sluice
