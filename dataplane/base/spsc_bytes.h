// SpscBytes: a bounded queue of byte records from one thread to one other.
//
// Threads: reserve() and commit() belong to the writer, front() and pop() to the reader.
// Memory:  allocated at construction, never grows; a record lies in one piece, aligned to 8 bytes.
// Errors:  reserve() gives an empty span when there is no room: the writer counts the loss.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace sluice {

class SpscBytes {
 public:
  // Rounded up to a power of two.
  explicit SpscBytes(std::size_t bytes)
      : capacity_(std::bit_ceil(bytes < 64 ? std::size_t{64} : bytes)),
        words_(new std::uint64_t[capacity_ / 8]) {}

  // Room for one record of `bytes`, to be filled and then committed. Records above half of the
  // capacity never fit.
  std::span<std::byte> reserve(std::size_t bytes) {
    const std::size_t needed = whole(bytes);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t head = head_.load(std::memory_order_acquire);  // pairs with pop()
    const std::size_t place = tail & (capacity_ - 1);
    // What does not fit before the end begins anew at the front; the rest of the end is given up.
    const std::size_t skipped = place + needed <= capacity_ ? 0 : capacity_ - place;
    if (needed > capacity_ / 2 || tail + skipped + needed - head > capacity_) return {};
    if (skipped > 0) write_length(place, skip_mark);
    reserved_ = tail + skipped;
    reserved_bytes_ = bytes;
    return {base() + (reserved_ & (capacity_ - 1)) + 8, bytes};
  }
  void commit() {
    write_length(reserved_ & (capacity_ - 1), reserved_bytes_);
    tail_.store(reserved_ + whole(reserved_bytes_),
                std::memory_order_release);  // pairs with front()
  }

  // The oldest record; empty when there is none. It stays in place until pop().
  std::span<const std::byte> front() {
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);  // pairs with commit()
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail) return {};
    std::uint64_t bytes = read_length(head & (capacity_ - 1));
    if (bytes == skip_mark) {
      head += capacity_ - (head & (capacity_ - 1));
      head_.store(head, std::memory_order_release);
      bytes = read_length(head & (capacity_ - 1));
    }
    return {base() + (head & (capacity_ - 1)) + 8, bytes};
  }
  void pop() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t bytes = read_length(head & (capacity_ - 1));
    head_.store(head + whole(bytes), std::memory_order_release);  // pairs with reserve()
  }

 private:
  static constexpr std::uint64_t skip_mark = ~0ull;
  static std::size_t whole(std::size_t bytes) { return 8 + (bytes + 7) / 8 * 8; }

  std::byte* base() { return reinterpret_cast<std::byte*>(words_.get()); }
  void write_length(std::size_t place, std::uint64_t bytes) {
    std::memcpy(base() + place, &bytes, sizeof bytes);
  }
  std::uint64_t read_length(std::size_t place) {
    std::uint64_t bytes;
    std::memcpy(&bytes, base() + place, sizeof bytes);
    return bytes;
  }

  std::size_t capacity_;
  std::unique_ptr<std::uint64_t[]> words_;
  std::uint64_t reserved_ = 0;
  std::size_t reserved_bytes_ = 0;
  alignas(64) std::atomic<std::uint64_t> head_{0};  // written by the reader only
  alignas(64) std::atomic<std::uint64_t> tail_{0};  // written by the writer only
};

}  // namespace sluice
