#include "mgmt/model/fields.h"

#include <fmt/core.h>

#include <charconv>

#include "dataplane/base/assert.h"
#include "mgmt/model/suggest.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

struct UnitName {
  std::string_view suffix;
  std::uint64_t milliseconds;
};
constexpr UnitName unit_names[] = {
    {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

std::string number_expected(const FieldDescriptor& field) {
  switch (rule_of(field).unit()) {
    case api::FieldRule::UNIT_MS:
      return "a time: a number of milliseconds, or a text like 30s, 5m, 1h";
    case api::FieldRule::UNIT_S:
      return "a time: a number of seconds, or a text like 30s, 5m, 1h";
    default:
      return "a whole number";
  }
}

tl::expected<std::uint64_t, ScalarProblem> parse_number(const FieldDescriptor& field,
                                                        std::string_view text) {
  const auto problem = [&](std::string message) {
    return tl::unexpected(ScalarProblem{std::move(message), number_expected(field), {}});
  };
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc::result_out_of_range) return problem(fmt::format("{} is too large", text));
  if (error != std::errc() || (text.size() - rest.size() > 1 && text[0] == '0')) {
    return problem(fmt::format("'{}' is not a number", text));
  }
  if (rest.empty()) return number;
  const auto unit = rule_of(field).unit();
  if (unit == api::FieldRule::UNIT_NONE) return problem(fmt::format("'{}' is not a number", text));
  for (const UnitName& name : unit_names) {
    if (rest != name.suffix) continue;
    if (number > (std::uint64_t{1} << 40)) return problem(fmt::format("{} is too large", text));
    const std::uint64_t milliseconds = number * name.milliseconds;
    if (unit == api::FieldRule::UNIT_MS) return milliseconds;
    if (milliseconds % 1000 != 0)
      return problem(fmt::format("'{}' is no whole number of seconds", text));
    return milliseconds / 1000;
  }
  return problem(fmt::format("'{}' has an unknown unit '{}'", text, rest));
}

}  // namespace

const api::FieldRule& rule_of(const FieldDescriptor& field) {
  return field.options().GetExtension(api::rule);
}
const api::ValueRule& rule_of(const EnumValueDescriptor& value) {
  return value.options().GetExtension(api::value);
}
const api::MessageRule& rule_of(const Descriptor& message) {
  return message.options().GetExtension(api::message);
}

tl::expected<void, ScalarProblem> assign_scalar(Message& message, const FieldDescriptor& field,
                                                std::string_view text) {
  const Reflection& reflection = *message.GetReflection();
  const auto problem = [](std::string what, std::string expected, std::string suggestion = {}) {
    return tl::unexpected(
        ScalarProblem{std::move(what), std::move(expected), std::move(suggestion)});
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.is_repeated()) {
        reflection.AddString(&message, &field, std::string(text));
      } else {
        reflection.SetString(&message, &field, std::string(text));
      }
      return {};
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (text != "true" && text != "false") {
        const bool is_yes =
            text == "yes" || text == "on" || text == "True" || text == "TRUE" || text == "1";
        const bool is_no =
            text == "no" || text == "off" || text == "False" || text == "FALSE" || text == "0";
        return problem(fmt::format("'{}' is neither true nor false", text), "true or false",
                       is_yes  ? "true"
                       : is_no ? "false"
                               : "");
      }
      reflection.SetBool(&message, &field, text == "true");
      return {};
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      const auto number = parse_number(field, text);
      if (!number) return tl::unexpected(number.error());
      if (*number > UINT32_MAX)
        return problem(fmt::format("{} is too large", text), number_expected(field));
      const auto narrow = static_cast<std::uint32_t>(*number);
      if (field.is_repeated()) {
        reflection.AddUInt32(&message, &field, narrow);
      } else {
        reflection.SetUInt32(&message, &field, narrow);
      }
      return {};
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumDescriptor& type = *field.enum_type();
      const EnumValueDescriptor* value = type.FindValueByName(std::string(text));
      if (value == nullptr) {
        const auto names = supported_values(type);
        return problem(fmt::format("'{}' is not a value of {}", text, field.name()),
                       "one of " + list_text(names), closest(text, names));
      }
      if (field.is_repeated()) {
        reflection.AddEnum(&message, &field, value);
      } else {
        reflection.SetEnum(&message, &field, value);
      }
      return {};
    }
    default:
      LB_ASSERT(!"the schema uses strings, bools, uint32 and enums only");
      return {};
  }
}

std::string scalar_text(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return index < 0 ? reflection.GetString(message, &field)
                       : reflection.GetRepeatedString(message, &field, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(index < 0 ? reflection.GetUInt32(message, &field)
                                      : reflection.GetRepeatedUInt32(message, &field, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      return index < 0 ? reflection.GetEnum(message, &field)->name()
                       : reflection.GetRepeatedEnum(message, &field, index)->name();
    default:
      LB_ASSERT(!"the schema uses strings, bools, uint32 and enums only");
      return {};
  }
}

void apply_defaults(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const api::FieldRule& rule = rule_of(field);
    if (field.is_map()) continue;
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field.is_repeated()) {
        for (int n = 0; n < reflection.FieldSize(message, &field); ++n) {
          apply_defaults(*reflection.MutableRepeatedMessage(&message, &field, n));
        }
      } else if (reflection.HasField(message, &field) ||
                 (field.real_containing_oneof() == nullptr && !rule.is_optional_group())) {
        apply_defaults(*reflection.MutableMessage(&message, &field));
      }
      continue;
    }
    const bool is_absent = field.is_repeated() ? reflection.FieldSize(message, &field) == 0
                                               : !reflection.HasField(message, &field);
    if (!is_absent || rule.default_().empty()) continue;
    const auto assigned = assign_scalar(message, field, rule.default_());
    LB_ASSERT(assigned.has_value());  // a default that its own field refuses is our mistake
  }
}

std::vector<std::string> field_names(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) {
    if (!rule_of(*message.field(i)).is_unsupported()) names.push_back(message.field(i)->name());
  }
  return names;
}

std::vector<std::string> supported_values(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (!rule_of(*type.value(i)).is_unsupported()) names.push_back(type.value(i)->name());
  }
  return names;
}

std::string bytes_of_hex(std::string_view digits) {
  std::string bytes;
  for (std::size_t at = 0; at + 2 <= digits.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(std::string(digits.substr(at, 2)), nullptr, 16));
  }
  return bytes;
}

std::string range_text(const api::FieldRule& rule) {
  const auto text = [&](std::int64_t number) { return number_text(rule, number); };
  if (!rule.has_min() && !rule.has_max()) return {};
  const std::string range = rule.has_max() ? fmt::format("{} to {}", text(rule.min()), text(rule.max())) : "at least " + text(rule.min());
  return rule.is_zero_allowed() ? "0, or " + range : range;
}

std::string number_text(const api::FieldRule& rule, std::int64_t number) {
  if (rule.unit() == api::FieldRule::UNIT_NONE) return std::to_string(number);
  return duration_text(static_cast<std::uint64_t>(number) * (rule.unit() == api::FieldRule::UNIT_S ? 1'000 : 1));
}

std::string duration_text(std::uint64_t milliseconds) {
  for (std::size_t i = std::size(unit_names); i-- > 1;) {
    if (milliseconds != 0 && milliseconds % unit_names[i].milliseconds == 0) {
      return fmt::format("{}{}", milliseconds / unit_names[i].milliseconds, unit_names[i].suffix);
    }
  }
  return fmt::format("{}ms", milliseconds);
}

}  // namespace sluice
