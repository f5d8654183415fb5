#include "dataplane/base/json_writer.h"

#include <gtest/gtest.h>

namespace sluice::json_writer_test {
namespace {

TEST(JsonWriter, CommasAndNesting) {
  JsonWriter json;
  json.open_object().field("ok", true).key("list").open_array().value(1).value("two").open_object().close_object();
  json.open_array().close_array().value(-3).close_array().field("last", std::uint64_t{18446744073709551615ull}).close_object();
  EXPECT_EQ(json.text(), R"({"ok":true,"list":[1,"two",{},[],-3],"last":18446744073709551615})");
}

std::string written(std::string_view text) {
  JsonWriter json;
  json.value(text);
  return json.text();
}

TEST(JsonWriter, EscapesWhatMustBe) {
  EXPECT_EQ(written("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(written(std::string_view("\0\n\x1f", 3)), "\"\\u0000\\u000a\\u001f\"");
  EXPECT_EQ(written("\x7f"), "\"\x7f\"");
}

TEST(JsonWriter, StaysUtf8WhateverComes) {
  EXPECT_EQ(written("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"), "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"");
  EXPECT_EQ(written("\xff"), R"("\ufffd")");
  EXPECT_EQ(written("\xc3"), R"("\ufffd")");
  EXPECT_EQ(written("\xc0\xaf"), R"("\ufffd\ufffd")");              // overlong
  EXPECT_EQ(written("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");    // a surrogate
  EXPECT_EQ(written("\xf4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");
  EXPECT_EQ(written("\xe2\x82"), R"("\ufffd\ufffd")");
}

TEST(JsonWriter, Error) { EXPECT_EQ(json_error("no \"such\" thing"), R"({"ok":false,"error":"no \"such\" thing"})"); }

}  // namespace
}  // namespace sluice::json_writer_test
