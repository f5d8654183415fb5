// The rules of one object that stand in the schema as options: required, range, format, count, values
// that this version does not support.
#pragma once

#include "mgmt/schema/problem.h"

namespace sluice {

void check_fields(const Object& object, Findings& findings);

bool is_dns_label(std::string_view text);  // RFC 1035 label in lower case, at most 63 characters

}  // namespace sluice
