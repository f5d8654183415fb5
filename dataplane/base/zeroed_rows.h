// ZeroedRows: an array of zeroed rows, of which the kernel gives pages when they are first touched. For tables by id, most of
// whose ids are unused. Rows begin where their alignment says, so that one of 64 bytes is one cache line.
// Memory: `count` rows of address space; stops the process when there is none. Threads: as its rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>

#include "dataplane/base/assert.h"

namespace sluice {

template <class Row>
class ZeroedRows {
 public:
  static_assert(std::is_trivially_destructible_v<Row>);

  explicit ZeroedRows(std::size_t count) : memory_(std::calloc(count * sizeof(Row) + alignof(Row), 1)) {
    LB_ASSERT(memory_ != nullptr);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    rows_ = reinterpret_cast<Row*>((address + alignof(Row) - 1) / alignof(Row) * alignof(Row));
  }
  Row& operator[](std::size_t id) { return rows_[id]; }
  const Row& operator[](std::size_t id) const { return rows_[id]; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  Row* rows_;
};

}  // namespace sluice
