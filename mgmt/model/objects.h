// The configuration as a value: objects by (kind, namespace, name).
//
// An object is immutable once made; a store is a map of shared pointers, so copying one to make a
// candidate is cheap, and dropping the candidate leaves the original untouched.
//
// Threads: a store belongs to one thread; objects may be read from any.
#pragma once

#include <google/protobuf/message.h>

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mgmt/api/common.pb.h"

namespace sluice {

struct ObjectKey {
  std::string kind;
  std::string space;  // namespace
  std::string name;

  std::string text()
      const;  // "cluster web", or "cluster shop/web" outside of the default namespace
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

inline constexpr const char* default_namespace = "default";

class Object {
 public:
  // Takes what the operator wrote; defaults are applied to a copy.
  static std::shared_ptr<const Object> create(std::unique_ptr<google::protobuf::Message> written);

  const ObjectKey& key() const { return key_; }
  const google::protobuf::Message& written() const { return *written_; }
  const google::protobuf::Message& effective() const { return *effective_; }
  const api::Metadata& metadata() const;

 private:
  Object() = default;
  ObjectKey key_;
  std::unique_ptr<google::protobuf::Message> written_;
  std::unique_ptr<google::protobuf::Message> effective_;
};
using ObjectPtr = std::shared_ptr<const Object>;

bool is_same_text(const Object& a, const Object& b);  // what the operator wrote is equal

class ObjectStore {
 public:
  void put(ObjectPtr object);
  bool erase(const ObjectKey& key);
  ObjectPtr find(const ObjectKey& key) const;  // nullptr when there is none
  bool empty() const { return objects_.empty(); }
  std::size_t size() const { return objects_.size(); }
  const std::map<ObjectKey, ObjectPtr>& all() const { return objects_; }  // in canonical order

  std::vector<ObjectPtr> of_kind(std::string_view kind) const;
  std::vector<std::string> names(std::string_view kind, std::string_view space) const;

  // The effective message of a known kind: store.find_as<api::Cluster>("default", "web").
  template <class Message>
  const Message* find_as(const std::string& space, const std::string& name) const {
    const ObjectPtr object = find({kind_of_message(*Message::descriptor()), space, name});
    return object ? static_cast<const Message*>(&object->effective()) : nullptr;
  }

 private:
  static std::string kind_of_message(const google::protobuf::Descriptor& type);
  std::map<ObjectKey, ObjectPtr> objects_;
};

// The kinds of object an operator can write, in the order of the reference page.
std::vector<std::string> object_kinds();
// An empty object of the kind; nullptr for an unknown one.
std::unique_ptr<google::protobuf::Message> new_object(std::string_view kind);
const google::protobuf::Descriptor* descriptor_of(std::string_view kind);

// What a reference in an object of namespace `space` names.
ObjectKey target_of(const api::ObjectRef& reference, std::string_view kind,
                    const std::string& space);

}  // namespace sluice
