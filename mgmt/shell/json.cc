#include "mgmt/shell/json.h"

namespace sluice {

const Json* find(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_of(const Json& object, std::string_view name, std::string_view fallback) {
  const Json* field = find(object, name);
  if (field == nullptr) return std::string(fallback);
  return field->is_string() ? field->get<std::string>() : dump(*field, true);
}

std::optional<std::uint64_t> number_of(const Json& object, std::string_view name) {
  const Json* field = find(object, name);
  if (field == nullptr) return std::nullopt;
  if (field->is_number_unsigned()) return field->get<std::uint64_t>();
  if (field->is_number_integer()) {
    const auto number = field->get<std::int64_t>();
    if (number >= 0) return static_cast<std::uint64_t>(number);
  }
  return std::nullopt;
}

bool flag_of(const Json& object, std::string_view name) {
  const Json* field = find(object, name);
  return field != nullptr && field->is_boolean() && field->get<bool>();
}

const Json& list_of(const Json& object, std::string_view name) {
  static const Json empty = Json::array();
  const Json* field = find(object, name);
  return field != nullptr && field->is_array() ? *field : empty;
}

std::vector<std::string> texts_of(const Json& object, std::string_view name) {
  std::vector<std::string> texts;
  for (const Json& item : list_of(object, name)) {
    // A reference may be given by name or as an object that has one.
    texts.push_back(item.is_string()   ? item.get<std::string>()
                    : item.is_object() ? text_of(item, "name")
                                       : dump(item, true));
  }
  return texts;
}

std::string dump(const Json& json, bool on_one_line) {
  return json.dump(on_one_line ? -1 : 2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice
