// References: found by the schema's `refers_to`, each names an object that exists, and once.
#include <fmt/core.h>

#include <set>

#include "mgmt/model/fields.h"
#include "mgmt/model/suggest.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

class ReferenceChecker {
 public:
  ReferenceChecker(const ObjectStore& objects, Findings& findings)
      : objects_(objects), findings_(findings) {}

  void check(const Object& object) { walk(object, object.effective(), ""); }

 private:
  void walk(const Object& object, const Message& message, const std::string& path) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
      const std::string field_path = path.empty() ? field->name() : path + "." + field->name();
      const Reflection& reflection = *message.GetReflection();
      if (!field->is_repeated()) {
        walk(object, reflection.GetMessage(message, field), field_path);
        continue;
      }
      const std::string& kind = rule_of(*field).refers_to();
      std::set<ObjectKey> seen;
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        const Message& item = reflection.GetRepeatedMessage(message, field, i);
        const std::string item_path = fmt::format("{}[{}]", field_path, i);
        if (kind.empty()) {
          walk(object, item, item_path);
        } else {
          check_reference(object, static_cast<const api::ObjectRef&>(item), kind, item_path, seen);
        }
      }
    }
  }

  void check_reference(const Object& object, const api::ObjectRef& reference,
                       const std::string& kind, const std::string& path,
                       std::set<ObjectKey>& seen) {
    if (reference.has_kind() && reference.kind() != kind) {
      findings_.error(object.key(), path + ".kind",
                      fmt::format("a reference of kind '{}' does not fit here", reference.kind()),
                      kind);
      return;
    }
    const ObjectKey target = target_of(reference, kind, object.key().space);
    if (!seen.insert(target).second) {
      findings_.error(object.key(), path + ".name",
                      fmt::format("{} is listed twice", target.text()), "one reference to it");
      return;
    }
    if (objects_.find(target) != nullptr) return;
    const auto names = objects_.names(kind, target.space);
    Problem& problem = findings_.error(
        object.key(), path + ".name",
        fmt::format("{} refers to {}, which does not exist", object.key().text(), target.text()),
        names.empty() ? fmt::format("a {} object of that name", kind)
                      : fmt::format("one of the {} objects: {}", kind, list_text(names, 8)),
        closest(target.name, names));
    problem.missing = target;
  }

  const ObjectStore& objects_;
  Findings& findings_;
};

}  // namespace

void validate_references(const ObjectStore& objects, Findings& findings) {
  ReferenceChecker references(objects, findings);
  for (const auto& entry : objects.all()) references.check(*entry.second);
}

}  // namespace sluice
