#include "dataplane/flow/address_book.h"

#include <bit>

#include "dataplane/base/assert.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

AddressBook::AddressBook(std::uint16_t numbers) : entries_(numbers + 1u), buckets_(std::bit_ceil(2u * numbers)) {
  free_.reserve(numbers);
  for (std::uint16_t number = numbers; number > 0; --number) free_.push_back(number);
}

// Nobody from outside chooses these addresses: no secret is needed.
std::uint16_t& AddressBook::bucket_of(const IpAddress& address) {
  return buckets_[index_hash(address) & (buckets_.size() - 1)];
}

std::uint16_t AddressBook::take(const IpAddress& address) {
  std::uint16_t& first = bucket_of(address);
  for (std::uint16_t number = first; number != 0; number = entries_[number].next) {
    if (entries_[number].address != address) continue;
    ++entries_[number].uses;
    return number;
  }
  if (free_.empty()) return 0;
  const std::uint16_t number = free_.back();
  free_.pop_back();
  entries_[number] = {address, 1, first};
  first = number;
  return number;
}

void AddressBook::release(std::uint16_t number) {
  LB_ASSERT(number != 0 && entries_[number].uses > 0);
  if (--entries_[number].uses > 0) return;
  std::uint16_t* link = &bucket_of(entries_[number].address);
  while (*link != number) link = &entries_[*link].next;
  *link = entries_[number].next;
  free_.push_back(number);
}

}  // namespace sluice
