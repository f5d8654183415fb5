#include "mgmt/model/field_rules.h"

#include <fmt/core.h>

#include <algorithm>

#include "dataplane/net/address.h"
#include "dataplane/net/name_patterns.h"
#include "mgmt/model/fields.h"
#include "mgmt/model/port_ranges.h"
#include "mgmt/model/suggest.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr std::size_t name_bytes_max = 63;
constexpr std::size_t interface_bytes_max = 15;

bool is_hex(std::string_view text) {
  return text.size() % 2 == 0 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
         });
}

bool is_device(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c != ',' && c != '{' && c != '}' && static_cast<unsigned char>(c) < 0x7f;
  });
}

bool is_interface(std::string_view text) {
  return is_device(text) && text.size() <= interface_bytes_max &&
         text.find('/') == std::string_view::npos && text != "." && text != "..";
}

// RFC 1123 2.1, and underscores, which names in the wild have. A star stands for whole labels only.
bool is_domain(std::string_view text) {
  const bool is_suffix = text.starts_with("*.");
  if (is_suffix) text.remove_prefix(2);
  if (text.empty() || text.size() > 253) return false;
  std::size_t labels = 0;
  for (std::size_t at = 0; at <= text.size(); ++labels) {
    const std::size_t dot = std::min(text.find('.', at), text.size());
    const std::string_view label = text.substr(at, dot - at);
    const bool is_label = !label.empty() && label.size() <= 63 && label.front() != '-' &&
                          label.back() != '-' && std::all_of(label.begin(), label.end(), [](char c) {
                            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                                   c == '_';
                          });
    if (!is_label) return false;
    at = dot + 1;
  }
  return !is_suffix || labels >= 2;  // never *.com
}

bool has_host_bits(std::string_view prefix_text) {
  const auto prefix = IpPrefix::parse(prefix_text);
  const auto address = IpAddress::parse(prefix_text.substr(0, prefix_text.find('/')));
  return prefix && address && prefix->network != *address;
}

// What the format demands, when the text does not satisfy it; empty when it does.
std::string format_broken(api::FieldRule::Format format, const std::string& text) {
  switch (format) {
    case api::FieldRule::FORMAT_NAME:
      return is_dns_label(text) ? ""
                                : "a DNS-1035 name: a-z, 0-9 and '-', beginning with a letter, at "
                                  "most 63 characters";
    case api::FieldRule::FORMAT_ADDRESS:
      return IpAddress::parse(text) ? "" : "an address like 192.0.2.1 or 2001:db8::1";
    case api::FieldRule::FORMAT_PREFIX:
      if (const auto host = IpAddress::parse(text))
        return fmt::format("a network; for this one address: {}/{}", host->text(), host->is_v4() ? 32 : 128);
      if (text.find('/') == std::string::npos || !IpPrefix::parse(text))
        return "a network like 192.0.2.0/24 or 2001:db8::/64";
      return has_host_bits(text)
                 ? fmt::format("the network's own address: {}", IpPrefix::parse(text)->text())
                 : "";
    case api::FieldRule::FORMAT_ADDRESS_LENGTH:
      return text.find('/') != std::string::npos && IpPrefix::parse(text)
                 ? ""
                 : "an address and the length of its network, like 192.0.2.1/24 or 2001:db8::1/64";
    case api::FieldRule::FORMAT_DOMAIN:
      return is_domain(text) ? ""
                             : "a host name in lower case, or *. and at least two labels, such as "
                               "www.example.com and *.example.com";
    case api::FieldRule::FORMAT_NAME_PATTERN: {
      const std::string fault = fault_of_name_pattern(text);
      return fault.empty() ? "" : "a regular expression that is matched without backtracking (Hyperscan): " + fault;
    }
    case api::FieldRule::FORMAT_HEX:
      return is_hex(text) ? "" : "an even number of hexadecimal digits";
    case api::FieldRule::FORMAT_INTERFACE:
      return is_interface(text)
                 ? ""
                 : "an interface name of 1 to 15 characters without '/', ',' and space";
    case api::FieldRule::FORMAT_DEVICE:
      return is_device(text) ? "" : "printable characters without ',', '{', '}' and space";
    default:
      return "";
  }
}

class FieldChecker {
 public:
  std::vector<BrokenRule> found;

  void check(const Message& message, const std::string& path) {
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      check_field(message, field, path.empty() ? field.name() : path + "." + field.name());
    }
    for (int i = 0; i < type.real_oneof_decl_count(); ++i)
      check_choice(message, *type.oneof_decl(i), path);
  }

 private:
  void check_choice(const Message& message, const OneofDescriptor& choice,
                    const std::string& path) {
    if (message.GetReflection()->HasOneof(message, &choice) ||
        !rule_of(*choice.field(0)).is_required())
      return;
    std::vector<std::string> names;
    for (int i = 0; i < choice.field_count(); ++i) {
      if (!rule_of(*choice.field(i)).is_unsupported()) names.push_back(choice.field(i)->name());
    }
    add(path, fmt::format("no {} is given", choice.name()), "one of " + list_text(names));
  }

  void check_field(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const api::FieldRule& rule = rule_of(field);
    if (field.is_map()) {
      if (rule.count_max() > 0 &&
          reflection.FieldSize(message, &field) > static_cast<int>(rule.count_max())) {
        add(path, "too many entries", fmt::format("at most {}", rule.count_max()));
      }
      return;
    }
    if (field.is_repeated()) {
      check_list(message, field, path);
      return;
    }
    if (!reflection.HasField(message, &field)) {
      if (rule.is_required() && field.real_containing_oneof() == nullptr) {
        add(path, fmt::format("{} is required", field.name()), rule.help());
      }
      return;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      check(reflection.GetMessage(message, &field), path);
    } else {
      check_scalar(message, field, -1, path);
    }
  }

  void check_list(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const api::FieldRule& rule = rule_of(field);
    const auto count = static_cast<std::uint32_t>(reflection.FieldSize(message, &field));
    if (count < rule.count_min()) {
      add(path, count == 0 ? fmt::format("{} is required", field.name()) : "too few entries",
          fmt::format("at least {}", rule.count_min()));
    }
    if (rule.count_max() > 0 && count > rule.count_max()) {
      add(path, fmt::format("{} entries are too many", count),
          fmt::format("at most {}", rule.count_max()));
      return;
    }
    for (int i = 0; i < static_cast<int>(count); ++i) {
      const std::string item_path = fmt::format("{}[{}]", path, i);
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        check(reflection.GetRepeatedMessage(message, &field, i), item_path);
      } else {
        check_scalar(message, field, i, item_path);
      }
    }
  }

  void check_scalar(const Message& message, const FieldDescriptor& field, int index,
                    const std::string& path) {
    const api::FieldRule& rule = rule_of(field);
    const std::string text = scalar_text(message, field, index);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      const auto* value = field.enum_type()->FindValueByName(text);
      if (rule_of(*value).is_unsupported()) {
        add(path, fmt::format("{} is not supported by this version", text),
            "one of " + list_text(supported_values(*field.enum_type())));
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      check_range(static_cast<std::int64_t>(std::stoull(text)), rule, path);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      if (rule.is_required() && text.empty()) {
        add(path, fmt::format("{} is empty", field.name()), rule.help());
      } else if (rule.bytes_max() > 0 && text.size() > rule.bytes_max()) {
        add(path, fmt::format("{} bytes are too long", text.size()),
            fmt::format("at most {}", rule.bytes_max()));
      } else if (rule.format() == api::FieldRule::FORMAT_PORT_RANGES) {
        const auto ranges = parse_port_ranges(text);
        if (!ranges) add(path, ranges.error().message, "ports and ranges, such as 80,443,8080-8191");
      } else if (const std::string expected = format_broken(rule.format(), text);
                 !expected.empty()) {
        add(path, fmt::format("'{}' is not accepted", text.substr(0, 80)), expected);
      }
    }
  }

  void check_range(std::int64_t value, const api::FieldRule& rule, const std::string& path) {
    if (value == 0 && rule.is_zero_allowed()) return;
    const bool is_below = rule.has_min() && value < rule.min();
    const bool is_above = rule.has_max() && value > rule.max();
    if (!is_below && !is_above) return;
    add(path, fmt::format("{} is too {}", number_text(rule, value), is_below ? "small" : "large"), range_text(rule));
  }

  void add(std::string path, std::string message, std::string expected) {
    found.push_back({std::move(path), std::move(message), std::move(expected)});
  }
};

}  // namespace

bool is_dns_label(std::string_view text) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return !text.empty() && text.size() <= name_bytes_max && is_letter(text.front()) &&
         text.back() != '-' && std::all_of(text.begin(), text.end(), [&](char c) {
           return is_letter(c) || is_digit(c) || c == '-';
         });
}

std::vector<BrokenRule> broken_rules(const Message& message) {
  FieldChecker checker;
  checker.check(message, "");
  return std::move(checker.found);
}

}  // namespace sluice
