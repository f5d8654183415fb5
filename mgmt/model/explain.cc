#include "mgmt/model/explain.h"

#include <fmt/core.h>
#include <google/protobuf/descriptor.h>

#include "mgmt/api/common.pb.h"
#include "mgmt/model/fields.h"
#include "mgmt/model/objects.h"
#include "mgmt/model/suggest.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

struct Words {
  std::string one, many;
};

Words words_of_text(const FieldDescriptor& field) {
  switch (rule_of(field).format()) {
    case api::FieldRule::FORMAT_NAME: return {"name", "names"};
    case api::FieldRule::FORMAT_ADDRESS: return {"IP address", "IP addresses"};
    case api::FieldRule::FORMAT_PREFIX: return {"network, as 192.0.2.0/24", "networks, as 192.0.2.0/24"};
    case api::FieldRule::FORMAT_ADDRESS_LENGTH: return {"address, as 192.0.2.1/24", "addresses, as 192.0.2.1/24"};
    case api::FieldRule::FORMAT_HEX: return {"hexadecimal digits", "hexadecimal numbers"};
    case api::FieldRule::FORMAT_INTERFACE: return {"interface", "interfaces"};
    case api::FieldRule::FORMAT_DOMAIN: return {"domain, or *.domain", "domains, or *.domain"};
    case api::FieldRule::FORMAT_PORT_RANGES: return {"ports, as 80,8080-8191", "ports, as 80,8080-8191"};
    case api::FieldRule::FORMAT_NAME_PATTERN: return {"regular expression", "regular expressions"};
    default: return {"text", "texts"};
  }
}

Words words_of(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: return {"true or false", "true or false"};
    case FieldDescriptor::CPPTYPE_ENUM: return {"word", "words"};
    case FieldDescriptor::CPPTYPE_STRING: return words_of_text(field);
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      if (field.message_type() == api::Empty::descriptor()) return {"{}", "{}"};
      const std::string& kind = rule_of(field).refers_to();
      if (!kind.empty()) return {"reference to " + kind, "references to " + kind};
      return {"object", "objects"};
    }
    default:
      return rule_of(field).unit() == api::FieldRule::UNIT_NONE ? Words{"number", "numbers"} : Words{"time, as 30s", "times, as 30s"};
  }
}

std::string type_of(const FieldDescriptor& field) {
  if (field.is_map()) return "map of texts";
  const Words words = words_of(field);
  return field.is_repeated() ? "list of " + words.many : words.one;
}

std::string limits_of(const FieldDescriptor& field) {
  const api::FieldRule& rule = rule_of(field);
  std::vector<std::string> limits;
  if (rule.count_min() > 0 && rule.count_min() == rule.count_max()) {
    limits.push_back(fmt::format("exactly {}", rule.count_min()));
  } else if (rule.count_max() > 0) {
    limits.push_back(rule.count_min() > 0 ? fmt::format("{} to {} of them", rule.count_min(), rule.count_max())
                                          : fmt::format("at most {} of them", rule.count_max()));
  } else if (rule.count_min() > 0) {
    limits.push_back(fmt::format("at least {} of them", rule.count_min()));
  }
  if (field.enum_type() != nullptr) limits.push_back(list_text(supported_values(*field.enum_type())));
  if (std::string range = range_text(rule); !range.empty()) limits.push_back(std::move(range));
  if (rule.bytes_max() > 0) limits.push_back(fmt::format("at most {} bytes", rule.bytes_max()));
  return list_text(limits);
}

FieldHelp help_of(const FieldDescriptor& field) {
  const api::FieldRule& rule = rule_of(field);
  FieldHelp help{field.name(), type_of(field), rule.help(), limits_of(field), rule.default_(), rule.is_required() || rule.count_min() > 0, false, {}};
  const Descriptor* const type = field.is_map() ? nullptr : field.message_type();
  help.has_fields = type != nullptr && type->field_count() > 0;
  if (help.help.empty() && help.has_fields) help.help = rule_of(*type).help();
  if (help.help.empty()) help.help = rule_of(*field.containing_type()).help();  // of a spec: what its kind is
  if (const auto* choice = field.real_containing_oneof()) {
    for (int i = 0; i < choice->field_count(); ++i) {
      const FieldDescriptor& other = *choice->field(i);
      if (&other != &field && !rule_of(other).is_unsupported()) help.instead.push_back(other.name());
    }
  }
  return help;
}

void add_fields(const Descriptor& type, Explanation& explanation) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (rule_of(field).is_unsupported()) {
      explanation.later.push_back(field.name());
    } else {
      explanation.below.push_back(help_of(field));
    }
  }
  for (const std::string& name : rule_of(type).not_in_this_version()) explanation.later.push_back(name);
}

Explanation kinds() {
  Explanation all;
  for (const std::string& kind : object_kinds()) {
    const api::MessageRule& rule = rule_of(*descriptor_of(kind));
    all.below.push_back({kind, "object", rule.help(), {}, {}, false, true, {}});
  }
  return all;
}

// "ports[0].mtu" -> "ports", and the rest.
std::string_view take_segment(std::string_view& path) {
  const std::size_t dot = path.find('.');
  const std::string_view segment = path.substr(0, dot);
  path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  return segment.substr(0, segment.find('['));
}

// Where a field of that name, or nearly so, is: here or below.
std::string nearest(const Descriptor& type, std::string_view name) {
  if (const std::string here = closest(name, field_names(type)); !here.empty()) return here;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.message_type() == nullptr || field.is_map() || rule_of(field).is_unsupported()) continue;
    if (const std::string below = nearest(*field.message_type(), name); !below.empty()) return field.name() + "." + below;
  }
  return {};
}

std::string unknown_field(const std::string& at, const Descriptor& type, std::string_view name) {
  const std::string meant = nearest(type, name);
  return fmt::format("{} has no field '{}'; {}", at, name,
                     meant.empty() ? "it has " + list_text(field_names(type)) : fmt::format("did you mean {}.{}?", at, meant));
}

}  // namespace

Result<Explanation> explain(std::string_view path) {
  if (path.empty()) return kinds();
  Explanation explanation;
  explanation.path = take_segment(path);
  const Descriptor* type = descriptor_of(explanation.path);
  if (type == nullptr) {
    const std::string meant = closest(explanation.path, object_kinds());
    return fail(fmt::format("there is no kind '{}'; {}", explanation.path,
                            meant.empty() ? "there are " + list_text(object_kinds()) : fmt::format("did you mean {}?", meant)));
  }
  explanation.field = {explanation.path, "object", rule_of(*type).help(), {}, {}, false, true, {}};
  const FieldDescriptor* field = nullptr;
  while (!path.empty()) {
    const std::string name(take_segment(path));
    if (type == nullptr || type->field_count() == 0) return fail(fmt::format("{} has no fields, it is: {}", explanation.path, explanation.field.type));
    field = type->FindFieldByName(name);
    if (field == nullptr) return fail(unknown_field(explanation.path, *type, name));
    if (rule_of(*field).is_unsupported()) return fail(fmt::format("{}.{} is not in this version", explanation.path, name));
    explanation.path += "." + name;
    explanation.field = help_of(*field);
    type = field->is_map() ? nullptr : field->message_type();
  }
  if (type != nullptr) add_fields(*type, explanation);
  if (field != nullptr && field->enum_type() != nullptr) {
    for (const std::string& value : supported_values(*field->enum_type())) {
      const api::ValueRule& rule = rule_of(*field->enum_type()->FindValueByName(value));
      explanation.values.push_back({value, {}, rule.help(), {}, {}, false, false, {}});
    }
    explanation.field.limits.clear();  // the values say it
  }
  return explanation;
}

}  // namespace sluice
