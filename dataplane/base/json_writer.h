// JsonWriter: builds the replies of the control socket. Writing only: the dataplane never reads JSON.
//   JsonWriter json;
//   json.open_object().key("ok").value(true).key("ports").open_array();
//   ...
//   json.close_array().close_object();
//   send(json.text());
// Commas and escapes are its business; balance is the caller's.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

class JsonWriter {
 public:
  JsonWriter& open_object();
  JsonWriter& close_object();
  JsonWriter& open_array();
  JsonWriter& close_array();
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool flag);
  JsonWriter& value(std::integral auto number) { return literal(std::to_string(number)); }

  // key + value in one call.
  template <class T>
  JsonWriter& field(std::string_view name, const T& content) {
    return key(name).value(content);
  }

  const std::string& text() const { return text_; }

 private:
  JsonWriter& literal(std::string_view text);
  void separate();

  std::string text_;
  bool needs_comma_ = false;
};

// {"ok":false,"error":"..."}
std::string json_error(std::string_view message);

}  // namespace sluice
