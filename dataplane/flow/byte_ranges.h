// ByteRanges: which bytes of a stream's beginning are here. What is here stays as it came first.
//
// At most `count_max` separate pieces: a stream that arrives in more has to be sent again, which its sender does.
#pragma once

#include <array>
#include <cstdint>

namespace sluice {

class ByteRanges {
 public:
  static constexpr std::size_t count_max = 8;

  // Bytes that are here without a gap from the start.
  std::uint32_t prefix() const { return count_ > 0 && ranges_[0].first == 0 ? ranges_[0].end : 0; }
  std::uint32_t end() const { return count_ > 0 ? ranges_[count_ - 1].end : 0; }

  // Adds [first, end). Calls fill(first, end) for each part that was not here. False, and nothing done, when there would
  // be too many pieces.
  template <class Fill>
  bool add(std::uint16_t first, std::uint16_t end, Fill fill) {
    std::size_t low = 0;
    while (low < count_ && ranges_[low].end < first) ++low;
    std::size_t high = low;  // [low, high): the pieces that touch the new one
    while (high < count_ && ranges_[high].first <= end) ++high;
    if (low == high && count_ == count_max) return false;
    std::uint16_t at = first;
    Range joined{first, end};
    for (std::size_t i = low; i < high; ++i) {
      if (ranges_[i].first > at) fill(at, ranges_[i].first);
      if (ranges_[i].end > at) at = ranges_[i].end;
      if (ranges_[i].first < joined.first) joined.first = ranges_[i].first;
      if (ranges_[i].end > joined.end) joined.end = ranges_[i].end;
    }
    if (at < end) fill(at, end);
    replace(low, high, joined);
    return true;
  }

  // Forgets the first `bytes`, which are here without a gap: what is behind them becomes the start.
  void drop_front(std::uint16_t bytes) {
    if (bytes == 0) return;
    for (std::size_t i = 0; i < count_; ++i) {
      ranges_[i].first = static_cast<std::uint16_t>(i == 0 ? 0 : ranges_[i].first - bytes);
      ranges_[i].end = static_cast<std::uint16_t>(ranges_[i].end - bytes);
    }
    if (ranges_[0].end != 0) return;
    for (std::size_t i = 1; i < count_; ++i) ranges_[i - 1] = ranges_[i];
    --count_;
  }

 private:
  struct Range {
    std::uint16_t first, end;  // the end is not included
  };

  void replace(std::size_t low, std::size_t high, Range joined) {
    if (low == high) {
      for (std::size_t i = count_++; i > low; --i) ranges_[i] = ranges_[i - 1];
    } else {
      const std::size_t gone = high - low - 1;
      for (std::size_t i = low + 1; i + gone < count_; ++i) ranges_[i] = ranges_[i + gone];
      count_ = static_cast<std::uint8_t>(count_ - gone);
    }
    ranges_[low] = joined;
  }

  std::array<Range, count_max> ranges_{};
  std::uint8_t count_ = 0;
};

}  // namespace sluice
