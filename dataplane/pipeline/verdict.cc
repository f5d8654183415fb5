#include "dataplane/pipeline/verdict.h"

#include <array>
#include <string>

namespace sluice {
namespace {

struct VerdictText {
  std::string_view name;
  std::string_view help;
};

constexpr VerdictText texts[] = {
#define SLUICE_VERDICT_TEXT(name, help) {#name, help},
    SLUICE_VERDICTS(SLUICE_VERDICT_TEXT)
#undef SLUICE_VERDICT_TEXT
};
static_assert(std::size(texts) == verdict_count);

const std::array<std::string, verdict_count>& counter_names() {
  static const auto names = [] {
    std::array<std::string, verdict_count> dotted;
    for (std::size_t i = 0; i < verdict_count; ++i) {
      dotted[i] = texts[i].name;
      if (const auto underscore = dotted[i].find('_'); underscore != std::string::npos) dotted[i][underscore] = '.';
    }
    return dotted;
  }();
  return names;
}

}  // namespace

std::string_view name_of(Verdict verdict) { return texts[static_cast<std::size_t>(verdict)].name; }
std::string_view help_of(Verdict verdict) { return texts[static_cast<std::size_t>(verdict)].help; }
std::string_view counter_name_of(Verdict verdict) { return counter_names()[static_cast<std::size_t>(verdict)]; }

}  // namespace sluice
