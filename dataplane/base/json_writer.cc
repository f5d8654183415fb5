#include "dataplane/base/json_writer.h"

#include <fmt/core.h>

#include <iterator>

namespace sluice {

void JsonWriter::separate() {
  if (needs_comma_) text_ += ',';
  needs_comma_ = true;
}

JsonWriter& JsonWriter::literal(std::string_view text) {
  separate();
  text_ += text;
  return *this;
}

JsonWriter& JsonWriter::open_object() {
  literal("{");
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close_object() {
  text_ += '}';
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::open_array() {
  literal("[");
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close_array() {
  text_ += ']';
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  value(name);
  text_ += ':';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(bool flag) { return literal(flag ? "true" : "false"); }

namespace {

// Bytes of the UTF-8 character at the start of `text` (RFC 3629); 0 when it is none.
std::size_t utf8_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t count = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  for (std::size_t i = 1; i < count; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies above U+10FFFF.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) return 0;
  return count;
}

}  // namespace

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  text_ += '"';
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const std::size_t bytes = utf8_bytes(text.substr(at));
    at += bytes == 0 ? 1 : bytes;
    if (bytes == 0) {
      text_ += "\\ufffd";  // error messages quote what strangers sent
    } else if (bytes > 1) {
      text_ += text.substr(at - bytes, bytes);
    } else if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(text_), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      text_ += c;
    }
  }
  text_ += '"';
  return *this;
}

std::string json_error(std::string_view message) {
  JsonWriter json;
  json.open_object().field("ok", false).field("error", message).close_object();
  return json.text();
}

}  // namespace sluice
