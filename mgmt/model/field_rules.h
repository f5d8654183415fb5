// The rules of one message that stand in the schema as options: required, range, format, count,
// values that this version does not support.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct BrokenRule {
  std::string path;  // "spec.ports[1].mtu"
  std::string message;
  std::string expected;
};

// `message` has its defaults applied.
std::vector<BrokenRule> broken_rules(const google::protobuf::Message& message);

bool is_dns_label(std::string_view text);  // RFC 1035 label in lower case, at most 63 characters

}  // namespace sluice
