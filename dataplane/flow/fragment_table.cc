#include "dataplane/flow/fragment_table.h"

#include <algorithm>

namespace sluice {

FragmentTable::FragmentTable()
    : datagrams_(datagrams_max), hashes_(datagrams_max), buckets_(2 * datagrams_max, Datagram::none), held_(held_max), passed_(passed_max) {
  for (std::uint32_t place = held_max; place-- > 0;) unused_.push_back(static_cast<std::uint16_t>(place));
}

Datagram& FragmentTable::find_or_add(const FlowKey& name, FlowHash hash, Instant now, const FragmentLimits& limits) {
  for (std::uint16_t at = bucket_of(hash); at != Datagram::none; at = datagrams_[at].next) {
    if (datagrams_[at].name == name) return datagrams_[at];
  }
  while (count_ >= std::clamp(limits.datagrams_max, 1u, datagrams_max)) drop_oldest();
  const auto index = static_cast<std::uint16_t>((oldest_ + count_++) % datagrams_max);
  Datagram& datagram = datagrams_[index];
  datagram = Datagram{};
  datagram.name = name;
  datagram.begun_stamp = now.stamp();
  datagram.next = bucket_of(hash);
  bucket_of(hash) = index;
  hashes_[index] = hash;
  return datagram;
}

void FragmentTable::drop_oldest() {
  const auto index = static_cast<std::uint16_t>(oldest_);
  std::uint16_t* link = &bucket_of(hashes_[index]);
  while (*link != index) link = &datagrams_[*link].next;
  *link = datagrams_[index].next;
  for (std::uint16_t place = datagrams_[index].held_first; place != Datagram::none; place = held_[place].next) {
    --waiting_count_;
    waiting_bytes_ -= held_[place].fragment.bytes;
  }
  append(lost_, datagrams_[index]);
  oldest_ = (oldest_ + 1) % datagrams_max;
  --count_;
}

FragmentTable::Taken FragmentTable::take(Datagram& datagram, const Fragment& fragment) {
  const auto first = static_cast<std::uint16_t>(fragment.offset_bytes / 8);
  const auto end = static_cast<std::uint16_t>((fragment.offset_bytes + fragment.payload_bytes + 7) / 8);
  const std::uint32_t end_bytes = fragment.offset_bytes + fragment.payload_bytes;
  const auto ranges_end = datagram.range_first.begin() + datagram.range_count;
  // Ranges are sorted and do not touch: the first that begins behind us, and the one before it.
  const auto behind = static_cast<std::size_t>(
      std::upper_bound(datagram.range_first.begin(), ranges_end, first) - datagram.range_first.begin());
  const bool has_before = behind > 0, has_behind = behind < datagram.range_count;
  if (has_before && datagram.range_end[behind - 1] >= end) return Taken::duplicate;
  const bool does_overlap = (has_before && datagram.range_end[behind - 1] > first) ||
                            (has_behind && datagram.range_first[behind] < end);
  const std::uint32_t known_end =
      datagram.range_count > 0 ? datagram.range_end[datagram.range_count - 1] * 8u : 0;
  const bool is_beyond_end = datagram.has_end && (end_bytes > datagram.end_bytes || !fragment.has_more);
  const bool ends_before_known = !fragment.has_more && end * 8u < known_end;
  if (does_overlap || is_beyond_end || ends_before_known) {
    datagram.is_refused = true;
    return Taken::overlap;
  }
  const bool joins_before = has_before && datagram.range_end[behind - 1] == first;
  const bool joins_behind = has_behind && datagram.range_first[behind] == end;
  if (joins_before && joins_behind) {
    datagram.range_end[behind - 1] = datagram.range_end[behind];
    std::copy(datagram.range_first.begin() + static_cast<long>(behind) + 1, ranges_end,
              datagram.range_first.begin() + static_cast<long>(behind));
    std::copy(datagram.range_end.begin() + static_cast<long>(behind) + 1,
              datagram.range_end.begin() + datagram.range_count, datagram.range_end.begin() + static_cast<long>(behind));
    --datagram.range_count;
  } else if (joins_before) {
    datagram.range_end[behind - 1] = end;
  } else if (joins_behind) {
    datagram.range_first[behind] = first;
  } else {
    if (datagram.range_count == Datagram::ranges_max) return Taken::scattered;
    std::copy_backward(datagram.range_first.begin() + static_cast<long>(behind), ranges_end, ranges_end + 1);
    std::copy_backward(datagram.range_end.begin() + static_cast<long>(behind),
                       datagram.range_end.begin() + datagram.range_count,
                       datagram.range_end.begin() + datagram.range_count + 1);
    datagram.range_first[behind] = first;
    datagram.range_end[behind] = end;
    ++datagram.range_count;
  }
  if (!fragment.has_more) {
    datagram.has_end = true;
    datagram.end_bytes = end_bytes;
  }
  return Taken::added;
}

bool FragmentTable::hold(Datagram& datagram, const HeldFragment& fragment, const FragmentLimits& limits) {
  if (datagram.held_count == held_per_datagram_max || fragment.bytes > limits.held_bytes_max) return false;
  const auto is_crowded = [&] {
    return waiting_bytes_ + fragment.bytes > limits.held_bytes_max || waiting_count_ >= held_max - places_spared;
  };
  while (is_crowded() && &datagrams_[oldest_] != &datagram) drop_oldest();
  if (is_crowded() || unused_.empty()) return false;
  const std::uint16_t place = unused_.back();
  unused_.pop_back();
  held_[place] = {fragment, Datagram::none};
  (datagram.held_first == Datagram::none ? datagram.held_first : held_[datagram.held_last].next) = place;
  datagram.held_last = place;
  ++datagram.held_count;
  ++held_count_;
  ++waiting_count_;
  waiting_bytes_ += fragment.bytes;
  return true;
}

void FragmentTable::append(List& list, Datagram& datagram) {
  if (datagram.held_first == Datagram::none) return;
  (list.first == Datagram::none ? list.first : held_[list.last].next) = datagram.held_first;
  list.last = datagram.held_last;
  datagram.held_first = datagram.held_last = Datagram::none;
  datagram.held_count = 0;
}

bool FragmentTable::take_ready(HeldFragment& fragment) {
  if (!take_from(ready_, fragment)) return false;
  --waiting_count_;
  waiting_bytes_ -= fragment.bytes;
  return true;
}

void FragmentTable::make_ready(Datagram& datagram) { append(ready_, datagram); }

bool FragmentTable::take_from(List& list, HeldFragment& fragment) {
  if (list.first == Datagram::none) return false;
  const std::uint16_t place = list.first;
  fragment = held_[place].fragment;
  list.first = held_[place].next;
  unused_.push_back(place);
  --held_count_;
  return true;
}

void FragmentTable::expire(Instant now, std::uint32_t timeout_ms) {
  while (count_ > 0 && ms_since(datagrams_[oldest_].begun_stamp, now) >= timeout_ms) drop_oldest();
}

}  // namespace sluice
