// What the schema says about a kind of object, a field or what lies below it: for whoever writes a configuration.
// A path is that of an error message, behind the kind: cluster.spec.sluice.forwarding, node.spec.ports[0].mtu. An index in it
// makes no difference.
// Threads: any. Errors: a path that leads nowhere is refused with the nearest one that leads somewhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice {

struct FieldHelp {
  std::string name;
  std::string type;    // in words: "number", "time", "list of references to endpoint"
  std::string help;    // a sentence
  std::string limits;  // beyond the type: "1 to 65535"; empty: none
  std::string usual;   // the default, as the operator would write it; empty: none
  bool is_required = false;
  bool has_fields = false;
  std::vector<std::string> instead;  // the others of a choice of which one may be given; required: must be
};

struct Explanation {
  std::string path;  // without indices; empty: all kinds are below
  FieldHelp field;
  std::vector<FieldHelp> below;
  std::vector<FieldHelp> values;   // of a field that takes one of some words: name and help
  std::vector<std::string> later;  // fields of the object model that this version refuses
};

Result<Explanation> explain(std::string_view path);

}  // namespace sluice
