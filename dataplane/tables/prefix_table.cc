#include "dataplane/tables/prefix_table.h"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

using Key = unsigned __int128;  // the address at the upper end

constexpr unsigned step_bits = 6;
constexpr std::size_t rules_for_a_root = 2'048;  // a root of 1 MiB is worth it from here on

struct Entry {
  Key key = 0;
  unsigned length = 0;     // of the family's own bits
  std::uint32_t rank = 0;  // place in the list
  std::uint8_t value = 0;
};

struct Best {
  std::uint32_t rank = ~0u;
  std::uint8_t value = 0;
  void consider(const Entry& entry) {
    if (entry.rank >= rank) return;
    rank = entry.rank;
    value = entry.value;
  }
};

class Builder {
 public:
  explicit Builder(PrefixTableParts& parts) : parts_(parts) {}

  // The entry for addresses below `offset` bits, which `entries` (longer than that, sorted) may
  // tell apart.
  std::uint32_t entry_for(std::vector<Entry> entries, unsigned offset, Best inherited) {
    drop_hidden(entries, inherited);
    if (entries.empty()) return prefix_value_bit | inherited.value;
    const auto index = static_cast<std::uint32_t>(parts_.nodes.size());
    parts_.nodes.emplace_back();
    fill(index, entries, offset, inherited);
    return index;
  }

  void fill_root(std::span<const Entry> entries) {
    std::vector<Best> best(std::size_t{1} << prefix_root_bits);
    std::vector<std::vector<Entry>> longer(best.size());
    split(entries, 0, prefix_root_bits, best, longer);
    for (std::size_t i = 0; i < best.size(); ++i) {
      const std::uint32_t entry = entry_for(std::move(longer[i]), prefix_root_bits, best[i]);
      parts_.roots.push_back(entry);
    }
  }

 private:
  // A rule behind one that holds all of its addresses decides nothing.
  static void drop_hidden(std::vector<Entry>& entries, Best inherited) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.rank >= inherited.rank; });
  }

  // Gives each entry to all children that it holds, or to the one in which it goes on.
  template <class Bests, class Longers>
  static void split(std::span<const Entry> entries, unsigned offset, unsigned bits, Bests& best,
                    Longers& longer) {
    for (const Entry& entry : entries) {
      const auto child = static_cast<std::size_t>((entry.key << offset) >> (128 - bits));
      if (entry.length > offset + bits) {
        longer[child].push_back(entry);
        continue;
      }
      const std::size_t count = std::size_t{1} << (offset + bits - entry.length);
      for (std::size_t i = 0; i < count; ++i) best[child + i].consider(entry);
    }
  }

  void fill(std::uint32_t index, std::span<const Entry> entries, unsigned offset, Best inherited) {
    constexpr std::size_t children = 1u << step_bits;
    std::array<Best, children> best;
    best.fill(inherited);
    std::array<std::vector<Entry>, children> longer;
    split(entries, offset, step_bits, best, longer);
    PrefixNode node{};
    for (std::size_t i = 0; i < children; ++i) {
      drop_hidden(longer[i], best[i]);
      if (!longer[i].empty()) {
        node.inner |= 1ull << i;
      } else {
        node.low_bits |= std::uint64_t{best[i].value & 1u} << i;
        node.high_bits |= std::uint64_t{best[i].value >> 1 & 1u} << i;
      }
    }
    node.first_node = static_cast<std::uint32_t>(parts_.nodes.size());
    parts_.nodes.resize(parts_.nodes.size() + static_cast<std::size_t>(std::popcount(node.inner)));
    parts_.nodes[index] = node;
    std::uint32_t next = node.first_node;
    for (std::size_t i = 0; i < children; ++i) {
      if ((node.inner >> i & 1) != 0) fill(next++, longer[i], offset + step_bits, best[i]);
    }
  }

  PrefixTableParts& parts_;
};

}  // namespace

PrefixTableParts build_prefix_table(std::span<const PrefixRule> rules) {
  PrefixTableParts parts;
  Builder builder(parts);
  const auto build = [&](bool is_v4, std::uint32_t& root_count, std::uint32_t& top) {
    std::vector<Entry> entries;
    for (std::uint32_t rank = 0; rank < rules.size(); ++rank) {
      const IpPrefix& prefix = rules[rank].prefix;
      if (prefix.is_v4() != is_v4) continue;
      Entry entry;
      entry.key = is_v4 ? static_cast<Key>(prefix.network.as_v4().host()) << 96
                        : static_cast<Key>(__builtin_bswap64(prefix.network.high)) << 64 |
                              __builtin_bswap64(prefix.network.low);
      entry.length = is_v4 ? prefix.length - 96u : prefix.length;
      entry.rank = rank;
      entry.value = rules[rank].value;
      entries.push_back(entry);
    }
    if (entries.size() >= rules_for_a_root) {
      root_count = 1u << prefix_root_bits;
      builder.fill_root(entries);
      return;
    }
    Best all;  // 0.0.0.0/0 and ::/0
    for (const Entry& entry : entries) {
      if (entry.length == 0) all.consider(entry);
    }
    std::erase_if(entries, [](const Entry& entry) { return entry.length == 0; });
    top = builder.entry_for(std::move(entries), 0, all);
  };
  build(true, parts.row.root_count_v4, parts.row.top_v4);
  build(false, parts.row.root_count_v6, parts.row.top_v6);
  parts.row.node_count = static_cast<std::uint32_t>(parts.nodes.size());
  return parts;
}

}  // namespace sluice
