#include "dataplane/flow/flow_index.h"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstring>

#include "dataplane/base/assert.h"

namespace sluice {

FlowIndex::FlowIndex(std::size_t entry_count_max) {
  // At most 80 % full: insertion then finds room after few moves.
  const std::size_t bucket_count = std::bit_ceil(std::max<std::size_t>(2, entry_count_max * 10 / (slots * 8) + 1));
  mask_ = bucket_count - 1;
  void* memory = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LB_ASSERT(memory != MAP_FAILED);
  madvise(memory, bytes(), MADV_HUGEPAGE);  // fewer TLB misses at millions of flows; a wish, not a need
  buckets_ = static_cast<Bucket*>(memory);
}

FlowIndex::~FlowIndex() { munmap(buckets_, bytes()); }

void FlowIndex::clear() { std::memset(static_cast<void*>(buckets_), 0, bytes()); }

void FlowIndex::put(std::size_t bucket, unsigned slot, std::uint16_t tag, Reference reference, bool is_second) {
  Bucket& at = buckets_[bucket];
  at.tags[slot] = tag;
  at.references[slot] = reference;
  const auto bit = static_cast<std::uint8_t>(1u << slot);
  at.is_second = static_cast<std::uint8_t>(is_second ? at.is_second | bit : at.is_second & ~bit);
}

void FlowIndex::move(std::size_t from, unsigned from_slot, std::size_t to, unsigned to_slot) {
  Bucket& source = buckets_[from];
  const bool was_second = (source.is_second >> from_slot & 1) != 0;
  put(to, to_slot, source.tags[from_slot], source.references[from_slot], !was_second);
  source.tags[from_slot] = 0;
  if (was_second) {
    --buckets_[to].spilled_count;
  } else {
    ++source.spilled_count;
  }
}

// Breadth-first search for the shortest chain of moves that frees a slot in `bucket` (Fan et al., 4.2).
bool FlowIndex::make_room(std::size_t bucket, std::size_t& free_bucket) {
  struct Step {
    std::size_t bucket;
    int parent;            // the step whose entry in `parent_slot` would move here
    unsigned parent_slot;
  };
  std::array<Step, 256> steps;
  std::size_t count = 0;
  steps[count++] = {bucket, -1, 0};
  for (std::size_t current = 0; current < count; ++current) {
    const unsigned empty = hits_in(buckets_[steps[current].bucket], 0);
    if (empty != 0) {
      auto free_slot = static_cast<unsigned>(__builtin_ctz(empty));
      for (int step = static_cast<int>(current); steps[static_cast<std::size_t>(step)].parent >= 0;) {
        const Step& to = steps[static_cast<std::size_t>(step)];
        move(steps[static_cast<std::size_t>(to.parent)].bucket, to.parent_slot, to.bucket, free_slot);
        free_slot = to.parent_slot;
        step = to.parent;
      }
      free_bucket = bucket;
      return true;
    }
    for (unsigned slot = 0; slot < slots && count < steps.size(); ++slot) {
      const std::size_t other = alternate(steps[current].bucket, buckets_[steps[current].bucket].tags[slot]);
      // A bucket twice on one path would move an entry that is no longer there.
      bool is_known = false;
      for (std::size_t i = 0; i < count && !is_known; ++i) is_known = steps[i].bucket == other;
      if (!is_known) steps[count++] = {other, static_cast<int>(current), slot};
    }
  }
  return false;
}

bool FlowIndex::insert(std::uint64_t hash, Reference reference) {
  const std::uint16_t tag = tag_of(hash);
  const std::size_t first = hash & mask_;
  if (const unsigned empty = hits_in(buckets_[first], 0); empty != 0) [[likely]] {
    put(first, static_cast<unsigned>(__builtin_ctz(empty)), tag, reference, false);
    return true;
  }
  const std::size_t second = alternate(first, tag);
  if (const unsigned empty = hits_in(buckets_[second], 0); empty != 0) {
    put(second, static_cast<unsigned>(__builtin_ctz(empty)), tag, reference, second != first);
    if (second != first) ++buckets_[first].spilled_count;
    return true;
  }
  std::size_t freed = 0;
  if (!make_room(first, freed)) return false;
  put(freed, static_cast<unsigned>(__builtin_ctz(hits_in(buckets_[freed], 0))), tag, reference, false);
  return true;
}

bool FlowIndex::erase_in(std::size_t bucket, std::uint16_t tag, Reference reference, std::size_t primary) {
  Bucket& at = buckets_[bucket];
  for (unsigned hits = hits_in(at, tag); hits != 0; hits &= hits - 1) {
    const auto slot = static_cast<unsigned>(__builtin_ctz(hits));
    if (at.references[slot] != reference) continue;
    at.tags[slot] = 0;
    if ((at.is_second >> slot & 1) != 0) --buckets_[primary].spilled_count;
    return true;
  }
  return false;
}

void FlowIndex::erase(std::uint64_t hash, Reference reference) {
  const std::uint16_t tag = tag_of(hash);
  const std::size_t first = hash & mask_;
  const bool was_there =
      erase_in(first, tag, reference, first) || erase_in(alternate(first, tag), tag, reference, first);
  LB_ASSERT(was_there);
}

}  // namespace sluice
