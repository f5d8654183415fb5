#include "perf/bench/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace sluice::perf {
namespace {

bool is_reached(const Row& row, double target) {
  return row.better == Better::lower ? row.figure.median <= target : row.figure.median >= target;
}

std::string number(double value) {
  const double size = value < 0 ? -value : value;
  if (size >= 1e6) return fmt::format("{:.2f}M", value / 1e6);
  if (size >= 10'000) return fmt::format("{:.0f}k", value / 1e3);
  if (size >= 100) return fmt::format("{:.0f}", value);
  if (size >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.2f}", value);
}

std::string target(const Row& row, const std::optional<double>& wanted) {
  if (!wanted) return "";
  return fmt::format("{} {}", row.better == Better::lower ? "<=" : ">=", number(*wanted));
}

}  // namespace

std::string reached(const Row& row) {
  if (row.aim && is_reached(row, *row.aim)) return "aim";
  if (row.must) return is_reached(row, *row.must) ? "must" : "miss";
  return "";
}

void Report::add(Row row) {
  if (!has_targets_) row.must = row.aim = std::nullopt;
  if (row.group != group_printed_) {
    group_printed_ = row.group;
    fmt::print("\n{:<44}{:>9}  {:<17}{:<7}{:>10}{:>10}  {}\n", row.group, "median", "min-max",
               "unit", "must", "aim", "reached");
  }
  const std::string spread = fmt::format("{}-{}", number(row.figure.min), number(row.figure.max));
  fmt::print("  {:<42}{:>9}  {:<17}{:<7}{:>10}{:>10}  {:<5}{}\n", row.name,
             number(row.figure.median), spread, row.unit, target(row, row.must),
             target(row, row.aim), reached(row), row.note.empty() ? "" : " " + row.note);
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

void Report::add_fact(std::string name, std::string value) {
  facts_.emplace_back(std::move(name), std::move(value));
}

void Report::print_summary() const {
  if (!has_targets_) return;
  int aims = 0, musts = 0;
  std::string missed;
  for (const Row& row : rows_) {
    const std::string how = reached(row);
    if (how == "aim") ++aims;
    if (how == "aim" || how == "must") ++musts;
    if (how == "miss") missed += fmt::format("\n  {}: {}", row.group, row.name);
  }
  fmt::print("\nReached: {} musts, {} aims of {}.{}{}\n", musts, aims,
             std::count_if(rows_.begin(), rows_.end(),
                           [](const Row& row) { return !reached(row).empty(); }),
             missed.empty() ? "" : " Not reached:", missed);
}

std::string Report::write_json(const std::string& path) const {
  nlohmann::ordered_json document;
  for (const auto& [name, value] : facts_) document["facts"][name] = value;
  document["rows"] = nlohmann::ordered_json::array();
  for (const Row& row : rows_) {
    nlohmann::ordered_json entry = {{"group", row.group},
                                    {"name", row.name},
                                    {"median", row.figure.median},
                                    {"min", row.figure.min},
                                    {"max", row.figure.max},
                                    {"unit", row.unit},
                                    {"better", row.better == Better::lower ? "lower" : "higher"}};
    if (row.must) entry["must"] = *row.must;
    if (row.aim) entry["aim"] = *row.aim;
    if (const std::string how = reached(row); !how.empty()) entry["reached"] = how;
    if (!row.note.empty()) entry["note"] = row.note;
    document["rows"].push_back(std::move(entry));
  }
  std::ofstream file(path);
  file << document.dump(1) << '\n';
  file.close();
  return file ? "" : path + ": cannot be written";
}

}  // namespace sluice::perf
