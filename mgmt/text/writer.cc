#include "mgmt/text/writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "dataplane/base/json_writer.h"
#include "mgmt/model/fields.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Fields that carry something, in the order of the schema.
std::vector<const FieldDescriptor*> present_fields(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const Reflection& reflection = *message.GetReflection();
    const bool is_present = field->is_repeated() ? reflection.FieldSize(message, field) > 0
                                                 : reflection.HasField(message, field);
    if (is_present) fields.push_back(field);
  }
  return fields;
}

std::vector<std::pair<std::string, std::string>> sorted_map(const Message& message,
                                                            const FieldDescriptor& field) {
  std::vector<std::pair<std::string, std::string>> entries;
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    entries.emplace_back(scalar_text(entry, *field.message_type()->map_key(), -1),
                         scalar_text(entry, *field.message_type()->map_value(), -1));
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

// Texts are quoted unless every reader of YAML takes them for the same text.
std::string quoted(const std::string& text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  };
  const bool begins_plain =
      !text.empty() && ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z'));
  const bool is_word = text == "true" || text == "false" || text == "null" || text == "yes" ||
                       text == "no" || text == "on" || text == "off" || text == "y" || text == "n";
  if (begins_plain && !is_word && std::all_of(text.begin(), text.end(), is_plain)) return text;
  JsonWriter json;  // a JSON string is a YAML double-quoted scalar
  json.value(text);
  return json.text();
}

std::string value_text(const Message& message, const FieldDescriptor& field, int index) {
  const std::string text = scalar_text(message, field, index);
  return field.cpp_type() == FieldDescriptor::CPPTYPE_STRING ? quoted(text) : text;
}

void write_yaml(std::string& out, const Message& message, int indent);

void write_yaml_field(std::string& out, const Message& message, const FieldDescriptor& field,
                      int indent) {
  const Reflection& reflection = *message.GetReflection();
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  if (field.is_map()) {
    out += fmt::format("{}{}:\n", margin, field.name());
    for (const auto& [key, value] : sorted_map(message, field)) {
      out += fmt::format("{}  {}: {}\n", margin, quoted(key), quoted(value));
    }
  } else if (field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    out += fmt::format("{}{}:\n", margin, field.name());
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& item = reflection.GetRepeatedMessage(message, &field, i);
      if (present_fields(item).empty()) {
        out += fmt::format("{}  - {{}}\n", margin);
        continue;
      }
      std::string body;
      write_yaml(body, item, indent + 4);
      body[static_cast<std::size_t>(indent) + 2] = '-';
      out += body;
    }
  } else if (field.is_repeated()) {
    out += fmt::format("{}{}: [", margin, field.name());
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      if (i > 0) out += ", ";
      out += value_text(message, field, i);
    }
    out += "]\n";
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const Message& child = reflection.GetMessage(message, &field);
    if (present_fields(child).empty()) {
      out += fmt::format("{}{}: {{}}\n", margin, field.name());
    } else {
      out += fmt::format("{}{}:\n", margin, field.name());
      write_yaml(out, child, indent + 2);
    }
  } else {
    out += fmt::format("{}{}: {}\n", margin, field.name(), value_text(message, field, -1));
  }
}

void write_yaml(std::string& out, const Message& message, int indent) {
  for (const FieldDescriptor* field : present_fields(message))
    write_yaml_field(out, message, *field, indent);
}

void write_json(JsonWriter& json, const Message& message);

void write_json_scalar(JsonWriter& json, const Message& message, const FieldDescriptor& field,
                       int index) {
  const Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    json.value(reflection.GetBool(message, &field));
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
    json.value(index < 0 ? reflection.GetUInt32(message, &field)
                         : reflection.GetRepeatedUInt32(message, &field, index));
  } else {
    json.value(scalar_text(message, field, index));
  }
}

void write_json_field(JsonWriter& json, const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  json.key(field.name());
  const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (field.is_map()) {
    json.open_object();
    for (const auto& [key, value] : sorted_map(message, field)) json.field(key, value);
    json.close_object();
  } else if (field.is_repeated()) {
    json.open_array();
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      if (is_message) {
        write_json(json, reflection.GetRepeatedMessage(message, &field, i));
      } else {
        write_json_scalar(json, message, field, i);
      }
    }
    json.close_array();
  } else if (is_message) {
    write_json(json, reflection.GetMessage(message, &field));
  } else {
    write_json_scalar(json, message, field, -1);
  }
}

void write_json_fields(JsonWriter& json, const Message& message) {
  for (const FieldDescriptor* field : present_fields(message))
    write_json_field(json, message, *field);
}

void write_json(JsonWriter& json, const Message& message) {
  json.open_object();
  write_json_fields(json, message);
  json.close_object();
}

}  // namespace

std::string to_yaml(const Object& object) {
  std::string out = fmt::format("kind: {}\n", object.key().kind);
  write_yaml(out, object.written(), 0);
  return out;
}

std::string to_yaml(const ObjectStore& objects) {
  std::string out;
  for (const std::string& kind : object_kinds()) {
    for (const ObjectPtr& object : objects.of_kind(kind)) {
      if (!out.empty()) out += "---\n";
      out += to_yaml(*object);
    }
  }
  return out;
}

void to_json(JsonWriter& json, const Object& object) {
  json.open_object().field("kind", object.key().kind);
  write_json_fields(json, object.written());
  json.close_object();
}

}  // namespace sluice
