// Memory as the product has it: huge pages where the kernel gives them, for every contestant alike.
#pragma once

#include <cstddef>
#include <span>

namespace sluice::perf {

// Zeroed anonymous memory, transparent huge pages asked for.
void* map_bytes(std::size_t bytes);
void unmap_bytes(void* memory, std::size_t bytes);

template <class Row>
class MappedRows {
 public:
  explicit MappedRows(std::size_t count)
      : rows_(static_cast<Row*>(map_bytes(count * sizeof(Row))), count) {}
  ~MappedRows() { unmap_bytes(rows_.data(), rows_.size_bytes()); }
  MappedRows(const MappedRows&) = delete;
  MappedRows& operator=(const MappedRows&) = delete;

  std::span<Row> rows() const { return rows_; }
  Row& operator[](std::size_t index) { return rows_[index]; }

 private:
  std::span<Row> rows_;
};

// Asks for huge pages in DPDK's heap too: it runs without hugetlbfs here.
void prefer_huge_pages_for_dpdk();

// Bytes of all mappings of this process, from /proc/self/statm.
std::size_t mapped_bytes();

}  // namespace sluice::perf
