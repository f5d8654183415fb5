// Objects -> text in one canonical order: the order of the schema, one way to write each value.
// What is written here reads back to an equal object.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "mgmt/model/objects.h"

namespace sluice {

class JsonWriter;

std::string to_yaml(const Object& object);  // as the operator wrote it: no defaults added
std::string to_yaml(
    const ObjectStore& objects);  // documents separated by "---", in canonical order
void to_json(JsonWriter& json, const Object& object);

}  // namespace sluice
