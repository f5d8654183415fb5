#include "mgmt/schema/validate.h"

#include "mgmt/model/field_rules.h"
#include "mgmt/schema/rules.h"

namespace sluice {
namespace {

void validate_services(const ObjectStore& objects, const ValidationWorld& world, Findings& findings) {
  validate_routes(objects, findings);
  validate_clusters(objects, findings);
  validate_healthchecks(objects, findings);
  validate_endpoint_addresses(objects, findings);
  validate_virtual_hosts(objects, findings);
  validate_advertise_policies(objects, findings);
  const auto vips = vips_of(objects);
  validate_vips(objects, vips, findings);
  validate_vip_addresses(objects, vips, world, findings);
  validate_shared_vips(objects, vips, findings);
}

}  // namespace

void check_fields(const Object& object, Findings& findings) {
  const google::protobuf::Message& written = object.written();
  const google::protobuf::FieldDescriptor* spec = written.GetDescriptor()->FindFieldByName("spec");
  if (!written.GetReflection()->HasField(written, spec)) {
    findings.error(object.key(), "spec", "spec is required", "the fields of the object");
    return;
  }
  for (BrokenRule& rule : broken_rules(object.effective())) {
    findings.error(object.key(), std::move(rule.path), std::move(rule.message),
                   std::move(rule.expected));
  }
}

Findings validate(const ObjectStore& objects, const ValidationWorld& world) {
  Findings findings;
  for (const auto& entry : objects.all()) check_fields(*entry.second, findings);
  if (!findings.errors.empty()) return findings;
  validate_references(objects, findings);
  if (!findings.errors.empty()) return findings;
  validate_node(objects, world, findings);
  validate_services(objects, world, findings);
  return findings;
}

}  // namespace sluice
