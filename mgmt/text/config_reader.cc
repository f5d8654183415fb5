#include "mgmt/text/config_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "mgmt/model/fields.h"
#include "mgmt/model/suggest.h"
#include "mgmt/text/yaml_tree.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr std::string_view file_line_prefix = "# sluice-file: ";

std::string type_text(const YamlNode& node) {
  switch (node.type) {
    case YamlNode::Type::null:
      return "nothing";
    case YamlNode::Type::scalar:
      return fmt::format("'{}'", node.scalar.substr(0, 40));
    case YamlNode::Type::list:
      return "a list";
    case YamlNode::Type::map:
      return "a mapping";
  }
  return {};
}

// Reads one document into one message.
class DocumentReader {
 public:
  DocumentReader(const std::string& file, std::vector<ConfigError>& errors, ObjectSource& source)
      : file_(file), errors_(errors), source_(source) {}

  void read(const YamlNode& document, Message& message) {
    source_.file = file_;
    source_.positions[""] = {document.line, document.column};
    read_map(document, message, "", true);
  }

  void error(const YamlNode& at, const std::string& path, std::string message,
             std::string expected = {}, std::string suggestion = {}) {
    errors_.push_back({file_, at.line, at.column, path, std::move(message), std::move(expected),
                       std::move(suggestion)});
  }

 private:
  void read_map(const YamlNode& node, Message& message, const std::string& path, bool is_document) {
    const Descriptor& type = *message.GetDescriptor();
    std::map<std::string, const YamlNode*> seen;
    for (const auto& [key, value] : node.entries) {
      if (key.type != YamlNode::Type::scalar) {
        error(key, path, "a key must be a plain word", "a field name");
        continue;
      }
      const std::string field_path = path.empty() ? key.scalar : path + "." + key.scalar;
      if (const auto [first, is_new] = seen.try_emplace(key.scalar, &key); !is_new) {
        error(key, field_path,
              fmt::format("'{}' is given twice; first in line {}", key.scalar, first->second->line),
              "one of them");
        continue;
      }
      source_.positions[field_path] = {value.line, value.column};
      if (is_document && key.scalar == "kind") continue;
      const FieldDescriptor* field = type.FindFieldByName(key.scalar);
      const auto& later = rule_of(type).not_in_this_version();
      if ((field != nullptr && rule_of(*field).is_unsupported()) ||
          std::find(later.begin(), later.end(), key.scalar) != later.end()) {
        error(key, field_path, fmt::format("'{}' is not supported by this version", key.scalar),
              "one of " + list_text(known_fields(type, is_document)));
        continue;
      }
      if (field == nullptr) {
        const auto names = known_fields(type, is_document);
        error(key, field_path, fmt::format("unknown field '{}'", key.scalar),
              names.empty() ? "no field here" : "one of " + list_text(names),
              closest(key.scalar, names));
        continue;
      }
      if (const OneofDescriptor* choice = field->real_containing_oneof()) {
        const FieldDescriptor* other =
            message.GetReflection()->GetOneofFieldDescriptor(message, choice);
        if (other != nullptr) {
          error(key, field_path,
                fmt::format("'{}' and '{}' exclude each other", other->name(), field->name()),
                "only one of " + list_text(names_in(*choice)));
          continue;
        }
      }
      read_field(value, message, *field, field_path);
    }
  }

  void read_field(const YamlNode& node, Message& message, const FieldDescriptor& field,
                  const std::string& path) {
    if (field.is_map()) {
      read_string_map(node, message, field, path);
      return;
    }
    if (!field.is_repeated()) {
      read_value(node, message, field, path);
      return;
    }
    if (node.type != YamlNode::Type::list) {
      error(node, path, fmt::format("{} where a list is needed", type_text(node)),
            field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
                ? "a list: [{...}] or lines that begin with '- '"
                : "a list: [a, b] or lines that begin with '- '");
      return;
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const std::string item_path = fmt::format("{}[{}]", path, i);
      source_.positions[item_path] = {node.items[i].line, node.items[i].column};
      read_value(node.items[i], message, field, item_path);
    }
  }

  void read_value(const YamlNode& node, Message& message, const FieldDescriptor& field,
                  const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (node.type != YamlNode::Type::map) {
        error(node, path, fmt::format("{} where a mapping is needed", type_text(node)),
              node.type == YamlNode::Type::null
                  ? "fields below it, or {} if all that it may have can be left out"
                  : "fields: " + list_text(field_names(*field.message_type())));
        return;
      }
      Message* child = field.is_repeated() ? reflection.AddMessage(&message, &field)
                                           : reflection.MutableMessage(&message, &field);
      read_map(node, *child, path, false);
      return;
    }
    if (node.type != YamlNode::Type::scalar) {
      error(node, path, fmt::format("{} where a value is needed", type_text(node)),
            "a single value");
      return;
    }
    if (const auto assigned = assign_scalar(message, field, node.scalar); !assigned) {
      error(node, path, assigned.error().message, assigned.error().expected,
            assigned.error().suggestion);
    }
  }

  void read_string_map(const YamlNode& node, Message& message, const FieldDescriptor& field,
                       const std::string& path) {
    if (node.type != YamlNode::Type::map) {
      error(node, path, fmt::format("{} where a mapping is needed", type_text(node)),
            "lines of the form 'key: value'");
      return;
    }
    const Descriptor& entry = *field.message_type();
    std::set<std::string> seen;
    for (const auto& [key, value] : node.entries) {
      const std::string entry_path = path + "." + key.scalar;
      source_.positions[entry_path] = {value.line, value.column};
      if (key.type != YamlNode::Type::scalar || value.type != YamlNode::Type::scalar) {
        error(key, entry_path, "both the key and the value must be texts",
              "lines of the form 'key: value'");
        continue;
      }
      if (!seen.insert(key.scalar).second) {
        error(key, entry_path, fmt::format("'{}' is given twice", key.scalar), "one of them");
        continue;
      }
      Message* added = message.GetReflection()->AddMessage(&message, &field);
      added->GetReflection()->SetString(added, entry.map_key(), key.scalar);
      added->GetReflection()->SetString(added, entry.map_value(), value.scalar);
    }
  }

  static std::vector<std::string> known_fields(const Descriptor& type, bool is_document) {
    auto names = field_names(type);
    if (is_document) names.insert(names.begin(), "kind");
    return names;
  }

  static std::vector<std::string> names_in(const OneofDescriptor& choice) {
    std::vector<std::string> names;
    for (int i = 0; i < choice.field_count(); ++i) {
      if (!rule_of(*choice.field(i)).is_unsupported()) names.push_back(choice.field(i)->name());
    }
    return names;
  }

  const std::string& file_;
  std::vector<ConfigError>& errors_;
  ObjectSource& source_;
};

// The `kind:` of a document; nullptr (and an error) when there is none that we know.
std::unique_ptr<Message> object_for(const YamlNode& document, DocumentReader& reader) {
  if (document.type != YamlNode::Type::map) {
    reader.error(document, "", fmt::format("{} where an object is needed", type_text(document)),
                 "an object: kind, metadata, spec");
    return nullptr;
  }
  for (const auto& [key, value] : document.entries) {
    if (key.scalar != "kind") continue;
    if (value.type == YamlNode::Type::scalar) {
      if (auto object = new_object(value.scalar)) return object;
    }
    reader.error(value, "kind", fmt::format("unknown kind {}", type_text(value)),
                 "one of " + list_text(object_kinds()), closest(value.scalar, object_kinds()));
    return nullptr;
  }
  std::vector<std::string> keys;
  for (const auto& entry : document.entries) keys.push_back(entry.first.scalar);
  reader.error(document, "kind", "an object without a kind", "one of " + list_text(object_kinds()),
               closest("kind", keys).empty() ? "" : "kind");
  return nullptr;
}

bool is_blank(const YamlNode& document) {
  return document.type == YamlNode::Type::null;
}

void limit_errors(const std::string& file, std::vector<ConfigError>& errors) {
  std::stable_sort(errors.begin(), errors.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  if (errors.size() <= config_errors_max) return;
  const std::size_t more = errors.size() - config_errors_max;
  errors.resize(config_errors_max);
  errors.push_back({file, 0, 0, {}, fmt::format("{} more errors are not shown", more), {}, {}});
}

void read_file(const SourceFile& file, ParsedConfig& config) {
  std::vector<ConfigError> errors;
  const YamlDocuments yaml = parse_yaml(file.name, file.text);
  std::size_t object_count = 0;
  for (const YamlNode& document : yaml.documents) {
    if (is_blank(document)) continue;  // "---" at the end, or comments only
    ++object_count;
    ParsedObject parsed;
    DocumentReader reader(file.name, errors, parsed.source);
    auto message = object_for(document, reader);
    if (message == nullptr) continue;
    const std::size_t errors_before = errors.size();
    reader.read(document, *message);
    if (errors.size() != errors_before) continue;
    parsed.object = Object::create(std::move(message));
    config.objects.push_back(std::move(parsed));
  }
  if (yaml.error) {
    errors.push_back(*yaml.error);
  } else if (object_count == 0) {
    errors.push_back({file.name,
                      0,
                      0,
                      {},
                      "there is no object in this file",
                      "at least one object: kind, metadata, spec",
                      {}});
  }
  for (ConfigError& error : errors) {
    if (error.line > 0) error.line += file.first_line - 1;
  }
  limit_errors(file.name, errors);
  config.errors.insert(config.errors.end(), errors.begin(), errors.end());
}

}  // namespace

TextPosition ObjectSource::find(std::string path) const {
  while (true) {
    if (const auto found = positions.find(path); found != positions.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    if (path.empty()) return {};
    path.resize(cut == std::string::npos ? 0 : cut);
  }
}

ParsedConfig read_config(std::span<const SourceFile> files) {
  ParsedConfig config;
  for (const SourceFile& file : files) {
    const std::size_t first = config.objects.size();
    read_file(file, config);
    for (std::size_t i = first; i < config.objects.size(); ++i) {
      for (auto& [path, position] : config.objects[i].source.positions)
        position.line += file.first_line - 1;
    }
  }
  std::map<ObjectKey, const ParsedObject*> seen;
  for (const ParsedObject& parsed : config.objects) {
    const ObjectKey& key = parsed.object->key();
    if (key.name.empty()) continue;  // refused later: the name is required
    const auto [first, is_new] = seen.try_emplace(key, &parsed);
    if (is_new) continue;
    const TextPosition here = parsed.source.find("metadata.name");
    const TextPosition there = first->second->source.find("metadata.name");
    config.errors.push_back({parsed.source.file,
                             here.line,
                             here.column,
                             "metadata.name",
                             fmt::format("{} is given twice; first in {}:{}", key.text(),
                                         first->second->source.file, there.line),
                             "one of them",
                             {}});
  }
  return config;
}

std::vector<SourceFile> split_payload(std::string_view payload, const std::string& fallback_name) {
  std::vector<SourceFile> files;
  while (!payload.empty() && payload.starts_with(file_line_prefix)) {
    const std::size_t line_end = std::min(payload.find('\n'), payload.size());
    SourceFile file;
    file.name = payload.substr(file_line_prefix.size(), line_end - file_line_prefix.size());
    while (!file.name.empty() && (file.name.back() == '\r' || file.name.back() == ' '))
      file.name.pop_back();
    payload.remove_prefix(std::min(line_end + 1, payload.size()));
    std::size_t end = payload.starts_with(file_line_prefix)
                          ? 0
                          : payload.find("\n" + std::string(file_line_prefix));
    if (end == std::string_view::npos) {
      end = payload.size();
    } else if (end > 0) {
      ++end;
    }
    file.text = payload.substr(0, end);
    payload.remove_prefix(end);
    files.push_back(std::move(file));
  }
  if (files.empty()) files.push_back({fallback_name, std::string(payload)});
  return files;
}

std::unique_ptr<Message> read_message(const SourceFile& file, const Message& prototype,
                                      std::vector<ConfigError>& errors, ObjectSource* source) {
  const YamlDocuments yaml = parse_yaml(file.name, file.text);
  if (yaml.error) {
    errors.push_back(*yaml.error);
    return nullptr;
  }
  ObjectSource local;
  std::vector<ConfigError> found;
  DocumentReader reader(file.name, found, source != nullptr ? *source : local);
  const std::string& kind = rule_of(*prototype.GetDescriptor()).kind();
  std::unique_ptr<Message> message(prototype.New());
  if (yaml.documents.size() != 1 || yaml.documents[0].type != YamlNode::Type::map) {
    found.push_back(
        {file.name, 0, 0, {}, "the file must hold one object", "one object of kind " + kind, {}});
  } else {
    const YamlNode& document = yaml.documents[0];
    const auto written =
        std::find_if(document.entries.begin(), document.entries.end(),
                     [](const auto& entry) { return entry.first.scalar == "kind"; });
    if (written == document.entries.end() || written->second.scalar != kind) {
      reader.error(written == document.entries.end() ? document : written->second, "kind",
                   "not of the right kind", kind);
    }
    reader.read(document, *message);
  }
  limit_errors(file.name, found);
  errors.insert(errors.end(), found.begin(), found.end());
  return found.empty() ? std::move(message) : nullptr;
}

}  // namespace sluice
