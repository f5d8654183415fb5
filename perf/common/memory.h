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
  Row& operator[](std::size_t index) const { return rows_[index]; }

 private:
  std::span<Row> rows_;
};

// A heap for DPDK's tables in memory of this kind: its own, without hugetlbfs, has small pages only
// and would make rte_hash look slower than it is. Once, after rte_eal_init().
void make_dpdk_heap(std::size_t bytes);
int dpdk_heap_socket();  // to be given to rte_hash_create() and the like
std::size_t dpdk_heap_bytes_used();

// Bytes of all mappings of this process, from /proc/self/statm.
std::size_t mapped_bytes();

// Share (0 to 1) of this process's anonymous memory that the kernel did give as huge pages. Well
// below one, figures with many flows measure the TLB.
double huge_share();

}  // namespace sluice::perf
