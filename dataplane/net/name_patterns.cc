#include "dataplane/net/name_patterns.h"

#include <fmt/core.h>
#include <hs/hs.h>

#include <cstdlib>

#include "dataplane/base/assert.h"

namespace sluice {
namespace {

// Reported once each, and no start of a match is asked for: the cheap ways of the library.
constexpr unsigned flags = HS_FLAG_CASELESS | HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY;

struct CompileError {
  std::string message;
  std::size_t expression = 0;
};

struct FreeBytes {
  void operator()(char* bytes) const { std::free(bytes); }
};

// The database, or why there is none.
hs_database* compile(std::span<const std::string> expressions, CompileError& error) {
  std::vector<const char*> texts;
  std::vector<unsigned> ids;
  for (const std::string& expression : expressions) {
    ids.push_back(static_cast<unsigned>(texts.size()));
    texts.push_back(expression.c_str());
  }
  const std::vector<unsigned> all_flags(texts.size(), flags);
  hs_database* database = nullptr;
  hs_compile_error_t* fault = nullptr;
  const auto count = static_cast<unsigned>(texts.size());
  const hs_error_t status =
      hs_compile_multi(texts.data(), all_flags.data(), ids.data(), count, HS_MODE_BLOCK, nullptr, &database, &fault);
  if (status == HS_SUCCESS) return database;
  error.message = fault != nullptr ? fault->message : "no memory";
  while (error.message.ends_with('.')) error.message.pop_back();
  error.expression = fault != nullptr && fault->expression >= 0 ? static_cast<std::size_t>(fault->expression) : 0;
  hs_free_compile_error(fault);
  return nullptr;
}

std::string anchored(const std::string& expression) { return "^(?:" + expression + ")\\z"; }

}  // namespace

void PatternScratch::Free::operator()(hs_scratch* scratch) const { hs_free_scratch(scratch); }
void NamePatterns::Free::operator()(hs_database* database) const { hs_free_database(database); }

std::string fault_of_name_pattern(const std::string& expression) {
  if (expression.empty()) return "it is empty";
  if (expression.find('\0') != std::string::npos) return "it has a byte of zero";
  // As it was written, so that places in the message are right; then as it is used: what opens and does not end would
  // swallow the anchor.
  for (const std::string& text : {expression, anchored(expression)}) {
    CompileError error;
    hs_database* database = compile(std::span(&text, 1), error);
    if (database == nullptr) return error.message;
    hs_free_database(database);
  }
  return {};
}

Result<std::vector<std::byte>> build_name_patterns(std::span<const std::string> expressions) {
  std::vector<std::string> texts;
  for (const std::string& expression : expressions) texts.push_back(anchored(expression));
  CompileError error;
  const std::unique_ptr<hs_database, decltype(&hs_free_database)> database(compile(texts, error), &hs_free_database);
  if (database == nullptr) return fail(fmt::format("'{}': {}", expressions[error.expression], error.message));
  char* bytes = nullptr;
  std::size_t size = 0;
  if (hs_serialize_database(database.get(), &bytes, &size) != HS_SUCCESS) return fail("no memory");
  const std::unique_ptr<char, FreeBytes> owner(bytes);
  if (size > name_pattern_database_bytes_max) {
    return fail(fmt::format("{} bytes are more than the {} that one VIP may have", size, name_pattern_database_bytes_max));
  }
  const auto content = std::as_bytes(std::span(bytes, size));
  return std::vector<std::byte>(content.begin(), content.end());
}

Result<PatternScratch> PatternScratch::clone() const {
  hs_scratch* copy = nullptr;
  if (hs_clone_scratch(scratch_.get(), &copy) != HS_SUCCESS) return fail("no memory to match server names in");
  PatternScratch scratch;
  scratch.scratch_.reset(copy);
  return scratch;
}

Result<NamePatterns> NamePatterns::load(std::span<const std::byte> bytes) {
  hs_database* database = nullptr;
  const hs_error_t status =
      hs_deserialize_database(reinterpret_cast<const char*>(bytes.data()), bytes.size(), &database);
  switch (status) {
    case HS_SUCCESS: break;
    case HS_DB_VERSION_ERROR:
      return fail(fmt::format("made by another version of Hyperscan than {}: run mgmt and dataplane with one libhyperscan",
                              hs_version()));
    case HS_DB_PLATFORM_ERROR: return fail("made for a CPU that can do more than this one: run mgmt on the same machine");
    case HS_NOMEM: return fail("no memory");
    default: return fail("damaged");
  }
  NamePatterns patterns;
  patterns.database_.reset(database);
  return patterns;
}

Result<void> NamePatterns::enlarge(PatternScratch& scratch) const {
  hs_scratch* memory = scratch.scratch_.release();
  const hs_error_t status = hs_alloc_scratch(database_.get(), &memory);
  scratch.scratch_.reset(memory);
  if (status != HS_SUCCESS) return fail("no memory to match server names in");
  return {};
}

void NamePatterns::scan_with(std::string_view name, const PatternScratch& scratch, Matched matched, void* context) const {
  struct Call {
    Matched matched;
    void* context;
  } call{matched, context};
  const auto report = [](unsigned id, unsigned long long, unsigned long long, unsigned, void* to) {
    const Call& told = *static_cast<Call*>(to);
    told.matched(told.context, id);
    return 0;
  };
  const hs_error_t status = hs_scan(database_.get(), name.data(), static_cast<unsigned>(name.size()), 0,
                                    scratch.scratch_.get(), report, &call);
  LB_ASSERT(status == HS_SUCCESS);
}

}  // namespace sluice
