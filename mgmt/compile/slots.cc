#include "mgmt/compile/slots.h"

#include <algorithm>
#include <numeric>

#include "dataplane/base/assert.h"
#include "dataplane/base/hash.h"

namespace sluice {
namespace {

// Fixed: every box must build the same table.
constexpr HashSecret identity_secret = {0x9e3779b97f4a7c15ull, 0xd1b54a32d192ed03ull};
constexpr HashSecret offset_secret = {0x2127599bf4325c37ull, 0x880355f21e6d1965ull};
constexpr HashSecret skip_secret = {0x589965cc75374cc3ull, 0xe7037ed1a0b428dbull};
constexpr HashSecret ring_secret = {0xeb44accab455d165ull, 0x8ebc6af09c88c6e3ull};

constexpr std::uint16_t no_endpoint = 0xffff;
constexpr std::uint32_t ring_points_max = 2'048;  // of the heaviest endpoint

std::uint16_t weight_max(std::span<const SlotEndpoint> endpoints) {
  std::uint16_t most = 1;
  for (const SlotEndpoint& endpoint : endpoints) most = std::max(most, endpoint.weight);
  return most;
}

bool some_take_flows(std::span<const SlotEndpoint> endpoints) {
  return std::any_of(endpoints.begin(), endpoints.end(),
                     [](const SlotEndpoint& e) { return e.takes_flows != 0; });
}

struct MaglevWalk {  // an endpoint's permutation of the slots, and how far it has got
  std::uint32_t place;
  std::uint32_t skip;
  std::uint32_t credit;  // a turn costs as much as the heaviest endpoint gets in a round
  std::uint16_t weight;
  std::uint16_t index;
};

// Fills `free_count` free slots; each walk takes the next free slot of its permutation when it has
// a turn.
void fill_in_turns(std::vector<MaglevWalk>& walks, std::vector<std::uint16_t>& slots,
                   std::uint32_t free_count, std::uint32_t turn_cost) {
  const auto size = static_cast<std::uint32_t>(slots.size());
  while (true) {
    for (MaglevWalk& walk : walks) {
      walk.credit += walk.weight;
      if (walk.credit < turn_cost) continue;
      walk.credit -= turn_cost;
      while (slots[walk.place] != no_endpoint) {
        walk.place += walk.skip;
        if (walk.place >= size) walk.place -= size;
      }
      slots[walk.place] = walk.index;
      if (--free_count == 0) return;
    }
  }
}

}  // namespace

std::uint64_t endpoint_identity(IpAddress address, std::uint16_t port, std::uint8_t protocol) {
  const std::uint64_t rest = static_cast<std::uint64_t>(protocol) << 16 | port;
  return keyed_hash(identity_secret, address.high, address.low, rest, 0, 0);
}

std::vector<std::uint16_t> maglev_slots(std::span<const SlotEndpoint> endpoints,
                                        std::uint32_t size) {
  if (!some_take_flows(endpoints)) return {};
  std::vector<MaglevWalk> walks;
  walks.reserve(endpoints.size());
  std::vector<bool> is_taking(std::size_t{no_endpoint} + 1);
  for (const SlotEndpoint& endpoint : endpoints) {
    const auto place =
        static_cast<std::uint32_t>(keyed_hash(offset_secret, endpoint.identity, 0) % size);
    const auto skip =
        static_cast<std::uint32_t>(keyed_hash(skip_secret, endpoint.identity, 0) % (size - 1)) + 1;
    walks.push_back({place, skip, 0, endpoint.weight, endpoint.index});
    is_taking[endpoint.index] = endpoint.takes_flows != 0;
  }
  const std::uint32_t turn_cost = weight_max(endpoints);
  std::vector<std::uint16_t> slots(size, no_endpoint);
  fill_in_turns(walks, slots, size, turn_cost);

  std::uint32_t freed = 0;
  for (std::uint16_t& slot : slots) {
    if (is_taking[slot]) continue;
    slot = no_endpoint;
    ++freed;
  }
  if (freed > 0) {
    std::erase_if(walks, [&](const MaglevWalk& walk) { return !is_taking[walk.index]; });
    fill_in_turns(walks, slots, freed, turn_cost);
  }
  return slots;
}

// A slot belongs to the first point at or after its start. Only the first point of each slot's
// stretch can ever be that, so one pass over the points suffices and nothing is sorted.
std::vector<std::uint16_t> ring_slots(std::span<const SlotEndpoint> endpoints) {
  if (!some_take_flows(endpoints)) return {};
  struct First {
    std::uint64_t position = ~std::uint64_t{0};
    std::uint64_t identity = ~std::uint64_t{0};
    std::uint16_t index = no_endpoint;
  };
  std::vector<First> firsts(ring_slot_count);
  const std::uint32_t most = weight_max(endpoints);
  for (const SlotEndpoint& endpoint : endpoints) {
    if (endpoint.takes_flows == 0) continue;
    const std::uint32_t points =
        std::max<std::uint32_t>(1, ring_points_max * endpoint.weight / most);
    for (std::uint32_t n = 0; n < points; ++n) {
      const std::uint64_t position = keyed_hash(ring_secret, endpoint.identity, n);
      First& first = firsts[position >> 48];
      if (std::pair(position, endpoint.identity) < std::pair(first.position, first.identity)) {
        first = {position, endpoint.identity, endpoint.index};
      }
    }
  }
  std::vector<std::uint16_t> slots(ring_slot_count, no_endpoint);
  const auto some = std::find_if(firsts.begin(), firsts.end(),
                                 [](const First& f) { return f.index != no_endpoint; });
  LB_ASSERT(some != firsts.end());
  std::uint16_t next = some->index;  // the ring is closed: after the last point comes the first
  for (std::uint32_t slot = ring_slot_count; slot-- > 0;) {
    if (firsts[slot].index != no_endpoint) next = firsts[slot].index;
    slots[slot] = next;
  }
  return slots;
}

// Endpoint e is due at (k + 1/2) / weight for its k-th turn; the turns in order of time are the
// table.
std::vector<std::uint16_t> sequence_slots(std::span<const SlotEndpoint> endpoints) {
  if (!some_take_flows(endpoints)) return {};
  std::uint32_t divisor = 0;
  std::uint64_t total = 0;
  for (const SlotEndpoint& endpoint : endpoints) {
    if (endpoint.takes_flows != 0) divisor = std::gcd(divisor, std::uint32_t{endpoint.weight});
  }
  for (const SlotEndpoint& endpoint : endpoints) {
    if (endpoint.takes_flows != 0) total += endpoint.weight / divisor;
  }
  struct Turn {
    std::uint64_t due;
    std::uint32_t order;
    std::uint16_t index;
  };
  std::vector<Turn> turns;
  for (std::uint32_t order = 0; order < endpoints.size(); ++order) {
    const SlotEndpoint& endpoint = endpoints[order];
    if (endpoint.takes_flows == 0) continue;
    std::uint64_t count = endpoint.weight / divisor;
    if (total > sequence_slots_max)
      count = std::max<std::uint64_t>(1, count * sequence_slots_max / total);
    for (std::uint64_t k = 0; k < count; ++k) {
      turns.push_back({((2 * k + 1) << 40) / (2 * count), order, endpoint.index});
    }
  }
  std::sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
    return std::pair(a.due, a.order) < std::pair(b.due, b.order);
  });
  std::vector<std::uint16_t> slots;
  slots.reserve(turns.size());
  for (const Turn& turn : turns) slots.push_back(turn.index);
  return slots;
}

}  // namespace sluice
