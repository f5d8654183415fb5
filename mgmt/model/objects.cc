#include "mgmt/model/objects.h"

#include <google/protobuf/util/message_differencer.h>

#include "dataplane/base/assert.h"
#include "mgmt/api/advertise_policy.pb.h"
#include "mgmt/api/cluster.pb.h"
#include "mgmt/api/endpoint.pb.h"
#include "mgmt/api/healthcheck.pb.h"
#include "mgmt/api/node.pb.h"
#include "mgmt/api/route.pb.h"
#include "mgmt/api/service_policy.pb.h"
#include "mgmt/api/virtual_host.pb.h"
#include "mgmt/model/fields.h"

namespace sluice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

// The one list of kinds.
std::vector<const Message*> prototypes() {
  return {&api::Node::default_instance(),
          &api::VirtualHost::default_instance(),
          &api::AdvertisePolicy::default_instance(),
          &api::Route::default_instance(),
          &api::Cluster::default_instance(),
          &api::Endpoint::default_instance(),
          &api::Healthcheck::default_instance(),
          &api::ServicePolicy::default_instance()};
}

const api::Metadata& metadata_in(const Message& message) {
  const auto* field = message.GetDescriptor()->FindFieldByName("metadata");
  return static_cast<const api::Metadata&>(message.GetReflection()->GetMessage(message, field));
}

}  // namespace

std::string ObjectKey::text() const {
  return space == default_namespace || space.empty() ? kind + " " + name
                                                     : kind + " " + space + "/" + name;
}

ObjectPtr Object::create(std::unique_ptr<Message> written) {
  std::shared_ptr<Object> object(new Object());
  object->effective_.reset(written->New());
  object->effective_->CopyFrom(*written);
  apply_defaults(*object->effective_);
  object->written_ = std::move(written);
  const api::Metadata& metadata = metadata_in(*object->effective_);
  object->key_ = {rule_of(*object->written_->GetDescriptor()).kind(), metadata.namespace_(),
                  metadata.name()};
  return object;
}

const api::Metadata& Object::metadata() const {
  return metadata_in(*effective_);
}

bool is_same_text(const Object& a, const Object& b) {
  return a.key() == b.key() &&
         google::protobuf::util::MessageDifferencer::Equals(a.written(), b.written());
}

void ObjectStore::put(ObjectPtr object) {
  const ObjectKey key = object->key();
  objects_[key] = std::move(object);
}

bool ObjectStore::erase(const ObjectKey& key) {
  return objects_.erase(key) > 0;
}

ObjectPtr ObjectStore::find(const ObjectKey& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<ObjectPtr> ObjectStore::of_kind(std::string_view kind) const {
  std::vector<ObjectPtr> found;
  for (auto it = objects_.lower_bound({std::string(kind), "", ""});
       it != objects_.end() && it->first.kind == kind; ++it) {
    found.push_back(it->second);
  }
  return found;
}

std::vector<std::string> ObjectStore::names(std::string_view kind, std::string_view space) const {
  std::vector<std::string> found;
  for (auto it = objects_.lower_bound({std::string(kind), std::string(space), ""});
       it != objects_.end() && it->first.kind == kind && it->first.space == space; ++it) {
    found.push_back(it->first.name);
  }
  return found;
}

std::string ObjectStore::kind_of_message(const Descriptor& type) {
  return rule_of(type).kind();
}

std::vector<std::string> object_kinds() {
  std::vector<std::string> kinds;
  for (const Message* prototype : prototypes())
    kinds.push_back(rule_of(*prototype->GetDescriptor()).kind());
  return kinds;
}

std::unique_ptr<Message> new_object(std::string_view kind) {
  for (const Message* prototype : prototypes()) {
    if (rule_of(*prototype->GetDescriptor()).kind() == kind)
      return std::unique_ptr<Message>(prototype->New());
  }
  return nullptr;
}

const Descriptor* descriptor_of(std::string_view kind) {
  for (const Message* prototype : prototypes()) {
    if (rule_of(*prototype->GetDescriptor()).kind() == kind) return prototype->GetDescriptor();
  }
  return nullptr;
}

ObjectKey target_of(const api::ObjectRef& reference, std::string_view kind,
                    const std::string& space) {
  return {std::string(kind), reference.has_namespace_() ? reference.namespace_() : space,
          reference.name()};
}

}  // namespace sluice
