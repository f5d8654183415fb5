// FlowIndex: hash -> record reference. The bucket layout and its terms are explained in conntrack.h.
//
// Threads: one lcore. Memory: fixed at construction. Errors: insert() returns false when no path of moves makes
// room, which below 95 % full does not happen in practice.
#pragma once

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>

namespace sluice {

class FlowIndex {
 public:
  using Reference = std::uint32_t;

  explicit FlowIndex(std::size_t entry_count_max);
  ~FlowIndex();
  FlowIndex(const FlowIndex&) = delete;
  FlowIndex& operator=(const FlowIndex&) = delete;

  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&buckets_[hash & mask_]); }

  // The first reference under this hash for which `matches` is true.
  template <class Matches>
  bool find(std::uint64_t hash, Matches matches) const {
    const std::uint16_t tag = tag_of(hash);
    const Bucket& primary = buckets_[hash & mask_];
    if (find_in(primary, tag, matches)) return true;
    if (primary.spilled_count == 0) [[likely]] return false;
    return find_in(buckets_[alternate(hash & mask_, tag)], tag, matches);
  }
  // The first reference whose tag fits: worth prefetching. `unknown`: only find() can tell, in the second bucket, which is on
  // its way.
  enum class Guess { absent, unknown, likely };
  Guess guess(std::uint64_t hash, Reference& reference) const {
    const Bucket& primary = buckets_[hash & mask_];
    const unsigned hits = hits_in(primary, tag_of(hash));
    if (hits == 0) {
      if (primary.spilled_count == 0) return Guess::absent;
      __builtin_prefetch(&buckets_[alternate(hash & mask_, tag_of(hash))]);
      return Guess::unknown;
    }
    reference = primary.references[__builtin_ctz(hits)];
    return Guess::likely;
  }

  bool insert(std::uint64_t hash, Reference reference);
  void erase(std::uint64_t hash, Reference reference);  // it must be there
  void clear();
  std::size_t bytes() const { return (mask_ + 1) * sizeof(Bucket); }

 private:
  static constexpr unsigned slots = 8;

  struct alignas(64) Bucket {
    std::uint16_t tags[slots];         // 0: empty
    std::uint32_t references[slots];
    std::uint16_t spilled_count;       // entries whose first bucket this is and that live in their second one
    std::uint8_t is_second;            // bit per slot: this is that entry's second bucket
    std::uint8_t reserved[13];
  };
  static_assert(sizeof(Bucket) == 64);

  static std::uint16_t tag_of(std::uint64_t hash) {
    const auto tag = static_cast<std::uint16_t>(hash >> 48);
    return tag == 0 ? 1 : tag;
  }
  std::size_t alternate(std::size_t bucket, std::uint16_t tag) const {
    return (bucket ^ (static_cast<std::uint64_t>(tag) * 0xc6a4a793u)) & mask_;
  }
  // Bit i set: slot i holds the tag.
  static unsigned hits_in(const Bucket& bucket, std::uint16_t tag) {
    const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(bucket.tags));
    const __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<short>(tag)));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())));
  }
  template <class Matches>
  static bool find_in(const Bucket& bucket, std::uint16_t tag, Matches& matches) {
    for (unsigned hits = hits_in(bucket, tag); hits != 0; hits &= hits - 1) {
      if (matches(bucket.references[__builtin_ctz(hits)])) return true;
    }
    return false;
  }

  bool erase_in(std::size_t bucket, std::uint16_t tag, Reference reference, std::size_t primary);
  void put(std::size_t bucket, unsigned slot, std::uint16_t tag, Reference reference, bool is_second);
  void move(std::size_t from, unsigned from_slot, std::size_t to, unsigned to_slot);
  bool make_room(std::size_t bucket, std::size_t& free_bucket);

  Bucket* buckets_ = nullptr;
  std::size_t mask_ = 0;
};

}  // namespace sluice
