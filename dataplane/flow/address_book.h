// AddressBook: IP addresses that many flows share (SNAT addresses, endpoints), each known by a number of 16 bits.
//
// Four IPv6 addresses fill the second line of a FlowRecord. Of these only the client's is the flow's own; the others are so
// few that they stay in the cache, and their numbers find room in the first line.
//
// Threads: one lcore. Memory: fixed at construction. Errors: take() returns 0 when all numbers are in use.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/net/address.h"

namespace sluice {

class AddressBook {
 public:
  static constexpr std::uint16_t numbers_max = 16'384;

  explicit AddressBook(std::uint16_t numbers = numbers_max);

  // The address's number, in use once more; 0: there is none left.
  std::uint16_t take(const IpAddress& address);
  // Once less. The number is free when nobody uses it.
  void release(std::uint16_t number);
  const IpAddress& operator[](std::uint16_t number) const { return entries_[number].address; }
  std::size_t count() const { return entries_.size() - 1 - free_.size(); }

 private:
  struct Entry {
    IpAddress address;
    std::uint32_t uses = 0;
    std::uint16_t next = 0;  // in its bucket
  };
  std::uint16_t& bucket_of(const IpAddress& address);

  std::vector<Entry> entries_;          // by number; 0 is none
  std::vector<std::uint16_t> buckets_;  // the first of each chain
  std::vector<std::uint16_t> free_;
};

}  // namespace sluice
