#include "perf/bench/memory.h"

#include <rte_memory.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>

#include "dataplane/base/assert.h"

namespace sluice::perf {

void* map_bytes(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LB_ASSERT(memory != MAP_FAILED);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void unmap_bytes(void* memory, std::size_t bytes) {
  munmap(memory, bytes);
}

void prefer_huge_pages_for_dpdk() {
  rte_memseg_list_walk(
      [](const rte_memseg_list* list, void*) {
        madvise(list->base_va, list->len, MADV_HUGEPAGE);
        return 0;
      },
      nullptr);
}

std::size_t mapped_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  LB_ASSERT(file != nullptr);
  unsigned long pages = 0;
  const int fields = std::fscanf(file, "%lu", &pages);
  std::fclose(file);
  LB_ASSERT(fields == 1);
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace sluice::perf
