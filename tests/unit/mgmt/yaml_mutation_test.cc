// Ten thousand mutated configurations: each is refused or accepted, none is misread or fatal, and
// what is refused changes nothing.
#include <gtest/gtest.h>

#include <random>

#include "mgmt/text/config_reader.h"
#include "mgmt/text/writer.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::yaml_mutation_test {
namespace {

std::string mutated(std::string text, std::mt19937& dice) {
  static const std::vector<std::string> pieces = {"{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ":",
                                                  ": ",
                                                  "- ",
                                                  "\n",
                                                  "\n---\n",
                                                  "  ",
                                                  "&a ",
                                                  "*a",
                                                  "!!int ",
                                                  "\"",
                                                  "'",
                                                  "|\n",
                                                  ">\n",
                                                  "? ",
                                                  "# ",
                                                  "\t",
                                                  "\x01",
                                                  "\xff",
                                                  "null",
                                                  "~",
                                                  "true",
                                                  "0",
                                                  "-1",
                                                  "4294967296",
                                                  "99999999999999999999999",
                                                  "1e9",
                                                  "10.0.0.1",
                                                  "fd00::1/64",
                                                  "kind",
                                                  "spec",
                                                  "name: x",
                                                  "{}",
                                                  "[]",
                                                  "proxy: HTTP_PROXY",
                                                  "%YAML 1.2\n",
                                                  "<<: *a",
                                                  "\xe2\x80\xa8",
                                                  "a: {a: {a: {a: {a: {a: 1}}}}}"};
  const int count = 1 + static_cast<int>(dice() % 4);
  for (int i = 0; i < count; ++i) {
    const std::size_t at = dice() % (text.size() + 1);
    const std::size_t length = std::min<std::size_t>(dice() % 12, text.size() - at);
    switch (dice() % 5) {
      case 0:
        text.insert(at, pieces[dice() % pieces.size()]);
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.replace(at, length, pieces[dice() % pieces.size()]);
        break;
      case 3:
        text.insert(at, text.substr(dice() % text.size(), dice() % 200));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(dice());
        break;
    }
    if (text.empty()) text = " ";
  }
  return text;
}

TEST(YamlMutation, IsRefusedOrAcceptedWhole) {
  std::mt19937 dice(20160316);
  const std::string seed = base_yaml();
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::vector<SourceFile> files = {{"m.yaml", mutated(seed, dice)}};
    const ParsedConfig parsed = read_config(files);
    if (!parsed.errors.empty()) {
      ++refused;
      for (const ConfigError& error : parsed.errors) {
        ASSERT_FALSE(error.message.empty());
        ASSERT_EQ(error.file, "m.yaml");
      }
      continue;
    }
    ObjectStore objects;
    for (const ParsedObject& object : parsed.objects) objects.put(object.object);
    const Findings findings = validate(objects, {real_profiles(), {}});
    if (!findings.errors.empty()) {
      ++refused;
      continue;
    }
    ++accepted;
    // What is accepted compiles, and reads back from what is written.
    if (!objects.of_kind("node").empty() && accepted % 16 == 0) {
      EXPECT_GT(compiled(objects).bytes().size(), 0u) << files[0].text;
    }
    const std::string text = to_yaml(objects);
    const std::vector<SourceFile> again = {{"again.yaml", text}};
    const ParsedConfig reread = read_config(again);
    ASSERT_TRUE(reread.errors.empty()) << reread.errors[0].text() << "\n" << text;
    ASSERT_EQ(reread.objects.size(), objects.size());
  }
  EXPECT_GT(accepted, 50);
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace sluice::yaml_mutation_test
