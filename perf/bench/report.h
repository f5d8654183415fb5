// Report: the rows of a run, as a table for people and as JSON for perf/run and perf/compare.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "perf/bench/measure.h"

namespace sluice::perf {

enum class Better { lower, higher };

struct Row {
  std::string group, name;
  Figure figure;
  std::string unit;
  Better better = Better::lower;
  std::optional<double> must, aim;  // as the product's performance targets say
  std::string note;
};

class Report {
 public:
  // Without targets: of a smoke run, whose figures cannot reach or miss anything.
  explicit Report(bool has_targets) : has_targets_(has_targets) {}
  // Rows are printed as they come.
  void add(Row row);
  void add_fact(std::string name, std::string value);
  void print_summary() const;
  // Errors: the reason when the file cannot be written, empty otherwise.
  std::string write_json(const std::string& path) const;

 private:
  bool has_targets_;
  std::vector<Row> rows_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::string group_printed_;
};

// "miss", "must" or "aim": which of the row's targets the median reaches; empty without targets.
std::string reached(const Row& row);

}  // namespace sluice::perf
