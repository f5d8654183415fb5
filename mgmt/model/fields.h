// What the schema says about a field, and the one place where a scalar's text becomes its value:
// used by the YAML reader, by defaults and by the shell.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "mgmt/api/options.pb.h"

namespace sluice {

const api::FieldRule& rule_of(const google::protobuf::FieldDescriptor& field);
const api::ValueRule& rule_of(const google::protobuf::EnumValueDescriptor& value);
const api::MessageRule& rule_of(const google::protobuf::Descriptor& message);

struct ScalarProblem {
  std::string message;
  std::string expected;
  std::string suggestion;
};

// Sets the field, or appends to it when it is repeated. Units are understood: "30s" in a field of
// milliseconds is 30000. Nothing but the type is checked here; ranges are the schema's business.
tl::expected<void, ScalarProblem> assign_scalar(google::protobuf::Message& message,
                                                const google::protobuf::FieldDescriptor& field,
                                                std::string_view text);

// The value as the operator would write it. `index` counts in a repeated field, else it is -1.
std::string scalar_text(const google::protobuf::Message& message,
                        const google::protobuf::FieldDescriptor& field, int index);

// Fills what is absent from the schema's defaults, in sub-messages too.
void apply_defaults(google::protobuf::Message& message);

// Names of the fields of a message; names of an enum's values that this version supports.
std::vector<std::string> field_names(const google::protobuf::Descriptor& message);
std::vector<std::string> supported_values(const google::protobuf::EnumDescriptor& type);

// What a field of FORMAT_HEX says.
std::string bytes_of_hex(std::string_view digits);

// A number of this field with its unit; its range, "1s to 7d"; empty: it has none.
std::string number_text(const api::FieldRule& rule, std::int64_t number);
std::string range_text(const api::FieldRule& rule);

// "3600000 ms" as "1h" where that is exact: for messages to people.
std::string duration_text(std::uint64_t milliseconds);

}  // namespace sluice
