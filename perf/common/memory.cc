#include "perf/common/memory.h"

#include <rte_malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "dataplane/base/assert.h"

namespace sluice::perf {
namespace {

constexpr std::size_t huge_page_bytes = 2u << 20;
constexpr char heap_name[] = "tables";

}  // namespace

void* map_bytes(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LB_ASSERT(memory != MAP_FAILED);
  madvise(memory, bytes, MADV_HUGEPAGE);
  // Touched, as in a product that has run for a while: what was never written to is one page of zeros in the cache.
  constexpr std::size_t small_page_bytes = 4'096;
  for (std::size_t i = 0; i < bytes; i += small_page_bytes) static_cast<volatile std::byte*>(memory)[i] = std::byte{0};
  return memory;
}

void unmap_bytes(void* memory, std::size_t bytes) {
  munmap(memory, bytes);
}

void make_dpdk_heap(std::size_t bytes) {
  const std::size_t whole = bytes / huge_page_bytes * huge_page_bytes;
  auto address = reinterpret_cast<std::uintptr_t>(map_bytes(whole + huge_page_bytes));
  address = (address + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
  int rc = rte_malloc_heap_create(heap_name);
  LB_ASSERT(rc == 0);
  rc = rte_malloc_heap_memory_add(heap_name, reinterpret_cast<void*>(address), whole, nullptr, 0,
                                  huge_page_bytes);
  LB_ASSERT(rc == 0);
}

int dpdk_heap_socket() {
  return rte_malloc_heap_get_socket(heap_name);
}

std::size_t dpdk_heap_bytes_used() {
  rte_malloc_socket_stats stats{};
  const int rc = rte_malloc_get_socket_stats(dpdk_heap_socket(), &stats);
  LB_ASSERT(rc == 0);
  return stats.heap_allocsz_bytes;
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

double huge_share() {
  std::ifstream file("/proc/self/smaps_rollup");
  double anonymous = 0, huge = 0;
  for (std::string name; file >> name;) {
    if (name == "Anonymous:") file >> anonymous;
    if (name == "AnonHugePages:") file >> huge;
  }
  return anonymous > 0 ? huge / anonymous : 0;
}

}  // namespace sluice::perf
