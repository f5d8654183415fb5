// Histogram of whole numbers, exact below 64 and within 1/32 above: buckets as in HdrHistogram.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::perf {

class Histogram {
 public:
  void add(std::uint64_t value, std::uint64_t count = 1) {
    counts_[bucket_of(value)] += count;
    total_ += count;
    max_ = std::max(max_, value);
    min_ = std::min(min_, value);
  }
  void add(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    max_ = std::max(max_, other.max_);
    min_ = std::min(min_, other.min_);
  }
  std::uint64_t total() const { return total_; }
  std::uint64_t max() const { return max_; }
  std::uint64_t min() const { return total_ == 0 ? 0 : min_; }

  // The value below or at which `share` (0 to 1) of the values lie; the upper end of its bucket.
  std::uint64_t quantile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted || (seen == total_ && total_ > 0)) return std::min(max_, upper_end(i));
    }
    return max_;
  }

 private:
  static constexpr unsigned bits = 5;  // sub-buckets per power of two, as an exponent

  static std::size_t bucket_of(std::uint64_t value) {
    if (value < 2u << bits) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - bits - 1;
    return (std::size_t{shift} << bits) + static_cast<std::size_t>(value >> shift);
  }
  static std::uint64_t upper_end(std::size_t bucket) {
    if (bucket < 2u << bits) return bucket;
    const std::size_t shift = (bucket >> bits) - 1;
    const std::size_t head = bucket - (shift << bits);
    return ((head + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - bits + 1) << bits> counts_{};
  std::uint64_t total_ = 0, max_ = 0, min_ = UINT64_MAX;
};

}  // namespace sluice::perf
