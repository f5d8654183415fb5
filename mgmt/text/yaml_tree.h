// YamlTree: the documents of a YAML text as bounded trees with positions.
//
// Limits: yaml_bytes_max of text, yaml_depth_max of nesting; anchors, aliases and tags are refused,
// so a small text cannot stand for a large one.
//
// Errors: the first one ends the text; documents before it are kept.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mgmt/model/config_error.h"

namespace sluice {

inline constexpr std::size_t yaml_bytes_max = 4u << 20;
inline constexpr int yaml_depth_max = 32;

struct YamlNode {
  enum class Type { null, scalar, list, map };
  Type type = Type::null;
  int line = 0;    // from 1
  int column = 0;  // from 1
  std::string scalar;
  std::vector<YamlNode> items;                         // of a list
  std::vector<std::pair<YamlNode, YamlNode>> entries;  // of a map, as written, duplicates too
};

struct YamlDocuments {
  std::vector<YamlNode> documents;
  std::optional<ConfigError> error;
};

YamlDocuments parse_yaml(const std::string& file, std::string_view text);

}  // namespace sluice
