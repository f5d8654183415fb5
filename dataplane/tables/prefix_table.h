// PrefixTable: which of an ordered list of prefixes is the first to hold an address, and what it says.
//
// A trie of 6-bit steps with popcount-compressed nodes (Asai and Ohara, Poptrie, SIGCOMM'15), one for each family; large ones
// begin with a table of 2^18 entries. Not the longest prefix decides but the first in the list: that is settled when the table
// is built, so a lookup only walks down. mgmt builds, the dataplane reads; no pointers, so it lies in a snapshot.
// Cost:     an IPv4 lookup reads one entry and at most three nodes, of a /24 or less one; IPv6 as many more as its prefixes
//           are long.
// Threads:  immutable.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/net/address.h"

namespace sluice {

inline constexpr std::uint8_t prefix_value_max = 3;

// Half a line, the values of its children included: a bit of each in either word.
struct PrefixNode {
  std::uint64_t inner;  // children that are nodes; the others are values
  std::uint64_t low_bits, high_bits;
  std::uint32_t first_node;
  std::uint32_t reserved;

  std::uint8_t value_of(unsigned child) const {
    return static_cast<std::uint8_t>((low_bits >> child & 1) | (high_bits >> child & 1) << 1);
  }
};
static_assert(sizeof(PrefixNode) == 32);

// An entry is a node's index, or with this bit a value.
inline constexpr std::uint32_t prefix_value_bit = 1u << 31;

inline constexpr unsigned prefix_root_bits = 18;

struct PrefixTableRow {                                    // parts are relative to the table's own
  std::uint32_t first_root, root_count_v4, root_count_v6;  // 0 or 2^18 each, IPv4 first
  std::uint32_t top_v4, top_v6;                            // entries, when there is no root
  std::uint32_t first_node, node_count;
  std::uint32_t reserved;
};
static_assert(sizeof(PrefixTableRow) == 32);

struct PrefixTable {
  const PrefixTableRow* row;
  std::span<const std::uint32_t> roots;
  std::span<const PrefixNode> nodes;

  // 0: no prefix holds it.
  std::uint8_t value_of(IpAddress address) const {
    if (address.is_v4()) {
      const std::uint64_t key = std::uint64_t{address.as_v4().host()} << 32;
      return row->root_count_v4 != 0 ? walk(roots[key >> (64 - prefix_root_bits)], key, prefix_root_bits)
                                     : walk(row->top_v4, key, 0u);
    }
    const auto key = static_cast<unsigned __int128>(__builtin_bswap64(address.high)) << 64 |
                     __builtin_bswap64(address.low);
    return row->root_count_v6 != 0
               ? walk(roots[row->root_count_v4 + static_cast<std::uint32_t>(key >> (128 - prefix_root_bits))], key, prefix_root_bits)
               : walk(row->top_v6, key, 0u);
  }

  // The same for at most together_max at once, `found` one for each: the address of the i-th is address_of(i). IPv4 ones take
  // each step together: a large table is in no cache, and what the steps wait for then comes for all of them at the same time.
  static constexpr std::size_t together_max = 32;
  template <class AddressOf>
  void values_of(std::span<std::uint8_t> found, AddressOf address_of) const {
    struct Walk {
      std::uint64_t key;  // what is left of it
      std::uint32_t entry;
      std::uint8_t which;
    };
    std::array<Walk, together_max> walks;
    std::size_t count = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const IpAddress address = address_of(i);
      const bool is_together = address.is_v4() && row->root_count_v4 != 0;
      if (!is_together) {
        found[i] = value_of(address);
        continue;
      }
      const std::uint64_t key = std::uint64_t{address.as_v4().host()} << 32;
      __builtin_prefetch(&roots[key >> (64 - prefix_root_bits)]);
      walks[count++] = {key, 0, static_cast<std::uint8_t>(i)};
    }
    const auto arrive = [&](Walk walk, std::uint32_t entry, std::size_t& left) {
      if ((entry & prefix_value_bit) != 0) {
        found[walk.which] = static_cast<std::uint8_t>(entry);
        return;
      }
      __builtin_prefetch(&nodes[entry]);
      walks[left++] = {walk.key, entry, walk.which};
    };
    std::size_t left = 0;
    for (const Walk walk : std::span(walks).first(count)) {
      arrive({walk.key << prefix_root_bits, 0, walk.which}, roots[walk.key >> (64 - prefix_root_bits)], left);
    }
    while (left > 0) {  // it ends: children lie behind their node
      count = left;
      left = 0;
      for (const Walk walk : std::span(walks).first(count)) {
        const PrefixNode& node = nodes[walk.entry];
        const auto child = static_cast<unsigned>(walk.key >> 58);
        if ((node.inner >> child & 1) == 0) {
          found[walk.which] = node.value_of(child);
        } else {
          arrive({walk.key << 6, 0, walk.which}, node_child(node, child), left);
        }
      }
    }
  }

 private:
  static std::uint32_t node_child(const PrefixNode& node, unsigned child) {
    const std::uint64_t up_to_child = ~0ull >> (63 - child);
    return node.first_node + static_cast<unsigned>(std::popcount(node.inner & up_to_child)) - 1;
  }
  template <class Key>
  std::uint8_t walk(std::uint32_t entry, Key key, unsigned offset) const {
    constexpr unsigned key_bits = sizeof(Key) * 8;
    while ((entry & prefix_value_bit) == 0) {
      if (offset >= key_bits) return 0;  // a table deeper than an address: never built
      const PrefixNode& node = nodes[entry];
      const auto child = static_cast<unsigned>((key << offset) >> (key_bits - 6));
      if ((node.inner >> child & 1) == 0) return node.value_of(child);
      entry = node_child(node, child);
      offset += 6;
    }
    return static_cast<std::uint8_t>(entry);
  }
};

// What becomes a table: the rules in order, each with its value from 1 to prefix_value_max.
struct PrefixRule {
  IpPrefix prefix;
  std::uint8_t value = 0;
};

struct PrefixTableParts {
  PrefixTableRow row{};
  std::vector<std::uint32_t> roots;
  std::vector<PrefixNode> nodes;
};

PrefixTableParts build_prefix_table(std::span<const PrefixRule> rules);

}  // namespace sluice
