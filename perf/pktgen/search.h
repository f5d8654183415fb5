// The search of RFC 2544 26.1 for the highest rate without loss. Pure.
//
//   ZeroLossSearch search({least, most, resolution});
//   while (auto rate = search.next()) search.report(passes(*rate));
//   search.found()
#pragma once

#include <optional>

namespace sluice::perf {

class ZeroLossSearch {
 public:
  struct Limits {
    double least = 0,
           most = 0;  // packets per second; `least` itself is tried only when all above fails
    double resolution = 0.01;  // of `most`: how near to each other pass and failure must come
  };
  explicit ZeroLossSearch(const Limits& limits)
      : limits_(limits), passed_(0), failed_(limits.most) {}

  // The next rate to try; nothing when the search is over.
  std::optional<double> next() const {
    if (!is_begun_) return limits_.most;
    if (passed_ >= failed_) return std::nullopt;  // the most passed
    const double low = passed_ > 0 ? passed_ : limits_.least;
    if (failed_ - low <= limits_.resolution * limits_.most) {
      if (passed_ > 0 || is_least_tried_) return std::nullopt;
      return limits_.least;
    }
    return (low + failed_) / 2;
  }
  void report(bool has_passed) {
    const double rate = *next();
    is_begun_ = true;
    if (rate <= limits_.least) is_least_tried_ = true;
    (has_passed ? passed_ : failed_) = rate;
  }
  double found() const { return passed_; }  // 0: not even the least passed

 private:
  Limits limits_;
  double passed_, failed_;
  bool is_begun_ = false, is_least_tried_ = false;
};

}  // namespace sluice::perf
