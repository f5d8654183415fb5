// PrefixTable: which of an ordered list of prefixes is the first to hold an address, and what it
// says.
//
// A trie of 6-bit steps with popcount-compressed nodes (Asai and Ohara, Poptrie, SIGCOMM'15), one
// for each family; large ones begin with a table of 2^16 entries. Not the longest prefix decides
// but the first in the list: that is settled when the table is built, so a lookup only walks down.
// mgmt builds, the dataplane reads; no pointers, so it lies in a snapshot. Cost:    an IPv4 lookup
// reads one entry and at most three nodes, IPv6 as many more as its prefixes are long. Threads:
// immutable.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/net/address.h"

namespace sluice {

struct PrefixNode {
  std::uint64_t inner;  // children that are nodes; the others are values
  std::uint64_t runs;   // where a run of equal values begins, among those that are no nodes
  std::uint32_t first_node;
  std::uint32_t first_value;
};
static_assert(sizeof(PrefixNode) == 24);

// An entry is a node's index, or with this bit a value.
inline constexpr std::uint32_t prefix_value_bit = 1u << 31;

struct PrefixTableRow {                                    // parts are relative to the table's own
  std::uint32_t first_root, root_count_v4, root_count_v6;  // 0 or 2^16 each, IPv4 first
  std::uint32_t top_v4, top_v6;                            // entries, when there is no root
  std::uint32_t first_node, node_count;
  std::uint32_t first_value, value_count;
  std::uint32_t reserved;
};
static_assert(sizeof(PrefixTableRow) == 40);

struct PrefixTable {
  const PrefixTableRow* row;
  std::span<const std::uint32_t> roots;
  std::span<const PrefixNode> nodes;
  std::span<const std::uint8_t> values;

  // 0: no prefix holds it.
  std::uint8_t value_of(IpAddress address) const {
    if (address.is_v4()) {
      const std::uint64_t key = std::uint64_t{address.as_v4().host()} << 32;
      return row->root_count_v4 != 0 ? walk(roots[key >> 48], key, 16u)
                                     : walk(row->top_v4, key, 0u);
    }
    const auto key = static_cast<unsigned __int128>(__builtin_bswap64(address.high)) << 64 |
                     __builtin_bswap64(address.low);
    return row->root_count_v6 != 0
               ? walk(roots[row->root_count_v4 + static_cast<std::uint32_t>(key >> 112)], key, 16u)
               : walk(row->top_v6, key, 0u);
  }

 private:
  template <class Key>
  std::uint8_t walk(std::uint32_t entry, Key key, unsigned offset) const {
    constexpr unsigned key_bits = sizeof(Key) * 8;
    while ((entry & prefix_value_bit) == 0) {
      if (offset >= key_bits) return 0;  // a table deeper than an address: never built
      const PrefixNode& node = nodes[entry];
      const auto child = static_cast<unsigned>((key << offset) >> (key_bits - 6));
      const std::uint64_t up_to_child = ~0ull >> (63 - child);
      if ((node.inner >> child & 1) == 0) {
        return values[node.first_value +
                      static_cast<unsigned>(std::popcount(node.runs & up_to_child)) - 1];
      }
      entry = node.first_node + static_cast<unsigned>(std::popcount(node.inner & up_to_child)) - 1;
      offset += 6;
    }
    return static_cast<std::uint8_t>(entry);
  }
};

// What becomes a table: the rules in order, each with its value from 1 to 255.
struct PrefixRule {
  IpPrefix prefix;
  std::uint8_t value = 0;
};

struct PrefixTableParts {
  PrefixTableRow row{};
  std::vector<std::uint32_t> roots;
  std::vector<PrefixNode> nodes;
  std::vector<std::uint8_t> values;
};

PrefixTableParts build_prefix_table(std::span<const PrefixRule> rules);

}  // namespace sluice
