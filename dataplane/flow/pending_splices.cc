#include "dataplane/flow/pending_splices.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "dataplane/base/assert.h"

namespace sluice {
namespace {

constexpr std::size_t small_bytes = 2'048;  // one segment, and most hellos of two
constexpr std::uint32_t small_max = pending_max;  // one for each: those that say little cannot keep out who says all
constexpr std::uint32_t large_max = 1'024;
constexpr std::uint32_t resting_min = 64;   // freed pieces that are not given out: more than a burst frees
constexpr std::size_t index_size = 2 * pending_max;

}  // namespace

void PendingSplices::Pieces::Free::operator()(std::byte* memory) const { std::free(memory); }
void PendingSplices::FreeEntries::operator()(PendingSplice* entries) const { std::free(entries); }

PendingSplices::Pieces::Pieces(std::uint32_t count, std::size_t bytes)
    : memory_(static_cast<std::byte*>(std::malloc(count * bytes))), bytes_(bytes), count_(count), freed_(count) {
  LB_ASSERT(memory_ != nullptr);
}

bool PendingSplices::Pieces::take(std::uint32_t& piece) {
  if (freed_count_ > resting_min) {
    piece = freed_[freed_first_];
    freed_first_ = (freed_first_ + 1) % count_;
    --freed_count_;
    return true;
  }
  if (fresh_ == count_) return false;
  piece = fresh_++;
  return true;
}

void PendingSplices::Pieces::give_back(std::uint32_t piece) {
  freed_[(freed_first_ + freed_count_++) % count_] = piece;
}

PendingSplices::PendingSplices()
    : entries_(static_cast<PendingSplice*>(std::malloc(pending_max * sizeof(PendingSplice)))),
      index_(index_size, 0),
      small_(small_max, small_bytes),
      large_(large_max, held_bytes_max) {
  LB_ASSERT(entries_ != nullptr);
}

std::size_t PendingSplices::place_of(const FlowKey& key, FlowHash hash) const {
  for (std::size_t place = hash;; ++place) {
    const std::uint32_t number = index_[place % index_size];
    if (number == 0) return place % index_size;
    const PendingSplice& pending = entries_[number - 1];
    if (pending.hash == hash && pending.from_client == key) return place % index_size;
  }
}

PendingSplice* PendingSplices::find(const FlowKey& from_client, FlowHash hash) {
  const std::uint32_t number = index_[place_of(from_client, hash)];
  return number == 0 ? nullptr : &entries_[number - 1];
}

const PendingSplice* PendingSplices::find(const FlowKey& from_client, FlowHash hash) const {
  const std::uint32_t number = index_[place_of(from_client, hash)];
  return number == 0 ? nullptr : &entries_[number - 1];
}

PendingSplice* PendingSplices::open(const FlowKey& from_client, FlowHash hash) {
  std::uint32_t entry = used_end_;
  if (!unused_.empty()) {
    entry = unused_.back();
    unused_.pop_back();
  } else if (used_end_ < pending_max) {
    ++used_end_;
  } else {
    return nullptr;
  }
  PendingSplice* pending = new (&entries_[entry]) PendingSplice{};
  pending->from_client = pending->origin = from_client;
  pending->hash = hash;
  pending->stage = PendingStage::greeted;
  index_[place_of(from_client, hash)] = entry + 1;
  ++count_;
  return pending;
}

void PendingSplices::close(PendingSplice& pending) {
  if (pending.has_piece) (pending.is_piece_large ? large_ : small_).give_back(pending.piece);
  // Linear probing without gravestones: what follows moves up when it may (Knuth, 6.4 R).
  std::size_t hole = place_of(pending.from_client, pending.hash);
  index_[hole] = 0;
  for (std::size_t place = (hole + 1) % index_size; index_[place] != 0; place = (place + 1) % index_size) {
    const std::size_t home = entries_[index_[place] - 1].hash % index_size;
    const bool is_reached_past_hole = (place - home) % index_size >= (place - hole) % index_size;
    if (!is_reached_past_hole) continue;
    index_[hole] = index_[place];
    index_[place] = 0;
    hole = place;
  }
  pending.stage = PendingStage::unused;
  unused_.push_back(static_cast<std::uint32_t>(&pending - entries_.get()));
  --count_;
}

std::byte* PendingSplices::memory_of(const PendingSplice& pending) const {
  return (pending.is_piece_large ? large_ : small_).at(pending.piece);
}

bool PendingSplices::make_room(PendingSplice& pending, std::size_t bytes) {
  if (pending.has_piece && (pending.is_piece_large || bytes <= small_bytes)) return true;
  const bool is_large = bytes > small_bytes;
  std::uint32_t piece = 0;
  if (!(is_large ? large_ : small_).take(piece)) return false;
  if (pending.has_piece) {
    std::memcpy(large_.at(piece), small_.at(pending.piece), small_bytes);
    small_.give_back(pending.piece);
  }
  pending.has_piece = true;
  pending.is_piece_large = is_large;
  pending.piece = piece;
  return true;
}

StoreResult PendingSplices::store(PendingSplice& pending, std::size_t offset, std::span<const std::byte> bytes) {
  if (offset >= held_bytes_max) return StoreResult::stored;
  bytes = bytes.first(std::min(bytes.size(), held_bytes_max - offset));
  if (bytes.empty()) return StoreResult::stored;
  if (!make_room(pending, offset + bytes.size())) return StoreResult::no_memory;
  std::byte* memory = memory_of(pending);
  const bool is_added = pending.ranges.add(
      static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(offset + bytes.size()),
      [&](std::uint16_t first, std::uint16_t end) { std::memcpy(memory + first, bytes.data() + (first - offset), std::size_t{end} - first); });
  return is_added ? StoreResult::stored : StoreResult::too_many_pieces;
}

std::span<const std::byte> PendingSplices::held(const PendingSplice& pending) const {
  if (!pending.has_piece) return {};
  return {memory_of(pending), pending.ranges.prefix()};
}

void PendingSplices::drop_front(PendingSplice& pending, std::uint16_t bytes) {
  LB_ASSERT(bytes <= held(pending).size());
  pending.ranges.drop_front(bytes);
  std::memmove(memory_of(pending), memory_of(pending) + bytes, pending.ranges.end());
}

}  // namespace sluice
