#include "perf/bench/maglev.h"

#include <algorithm>
#include <vector>

#include "mgmt/compile/slots.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

constexpr std::uint32_t table_size = 65'537;
constexpr std::uint32_t members = 100;

std::vector<SlotEndpoint> endpoints_of(std::uint32_t count) {
  std::vector<SlotEndpoint> endpoints;
  for (std::uint32_t i = 0; i < count; ++i) {
    const IpAddress address = IpAddress::v4(be32(0xac100000u + i));
    endpoints.push_back(
        {endpoint_identity(address, 8'080, 6), static_cast<std::uint16_t>(i), 1, 1});
  }
  return endpoints;
}

}  // namespace

double maglev_build_ms(std::uint32_t endpoints) {
  static const std::vector<SlotEndpoint> all = endpoints_of(endpoints);
  const std::uint64_t begin = tsc();
  const auto slots = maglev_slots(all, table_size);
  const std::uint64_t end = tsc();
  return slots.size() == table_size ? static_cast<double>(end - begin) / tsc_hz() * 1e3 : 0;
}

std::vector<double> maglev_moved_shares(Leaving leaving, std::uint32_t tries) {
  const std::vector<SlotEndpoint> all = endpoints_of(members);
  const auto before = maglev_slots(all, table_size);
  std::vector<double> shares;
  for (std::uint32_t gone = 0; gone < std::min(tries, members); ++gone) {
    std::vector<SlotEndpoint> rest = all;
    if (leaving == Leaving::removed) {
      rest.erase(rest.begin() + gone);
    } else {
      rest[gone].takes_flows = 0;
    }
    const auto after = maglev_slots(rest, table_size);
    std::uint32_t moved = 0;
    for (std::size_t slot = 0; slot < before.size(); ++slot) {
      if (before[slot] != gone && before[slot] != after[slot]) ++moved;
    }
    shares.push_back(static_cast<double>(moved) / table_size);
  }
  return shares;
}

}  // namespace sluice::perf
