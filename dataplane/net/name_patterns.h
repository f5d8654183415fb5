// NamePatterns: regular expressions for server names, those of one VIP in one database that is scanned once for all.
//
// Syntax   PCRE as far as it needs no backtracking: no back-references, no look-around, bounded repeats. An expression has to
//          match the whole name (it stands between ^ and \z); upper and lower case are the same.
// Cost     Linear in the name (at most 253 bytes), whatever the expressions and the name are.
// Built    by mgmt, as bytes that lie in a snapshot; loaded by the dataplane when it verifies the snapshot, off its lcores. Bytes
//          are of one version of the library and of CPUs that can do what the builder's can: others are refused.
// Threads  Immutable once loaded. A scan writes into the scratch it is given, which serves one scan at a time.
// This and its .cc are all that knows Hyperscan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

struct hs_database;
struct hs_scratch;

namespace sluice {

inline constexpr std::size_t name_pattern_bytes_max = 255;
inline constexpr std::uint32_t name_patterns_max = 1'024;                  // of one VIP
inline constexpr std::size_t name_pattern_database_bytes_max = 16u << 20;  // of one VIP

// What is wrong with the expression, for whoever wrote it; empty when nothing is.
std::string fault_of_name_pattern(const std::string& expression);

// One database of them all. The number of an expression is its place.
Result<std::vector<std::byte>> build_name_patterns(std::span<const std::string> expressions);

// Memory that scans work in. Copies are as large, and independent.
class PatternScratch {
 public:
  PatternScratch() = default;
  Result<PatternScratch> clone() const;

 private:
  friend class NamePatterns;
  struct Free {
    void operator()(hs_scratch* scratch) const;
  };
  std::unique_ptr<hs_scratch, Free> scratch_;
};

class NamePatterns {
 public:
  static Result<NamePatterns> load(std::span<const std::byte> database);

  // Makes `scratch` large enough for this database as well.
  Result<void> enlarge(PatternScratch& scratch) const;

  // Calls visit(number) for each expression that matches, once, in any order.
  template <class Visit>
  void scan(std::string_view name, const PatternScratch& scratch, Visit visit) const {
    scan_with(name, scratch, [](void* context, std::uint32_t number) { (*static_cast<Visit*>(context))(number); }, &visit);
  }

 private:
  using Matched = void (*)(void* context, std::uint32_t number);
  void scan_with(std::string_view name, const PatternScratch& scratch, Matched matched, void* context) const;

  struct Free {
    void operator()(hs_database* database) const;
  };
  std::unique_ptr<hs_database, Free> database_;
};

}  // namespace sluice
