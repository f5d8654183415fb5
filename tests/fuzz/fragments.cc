// libFuzzer: fragments of one datagram, four bytes each (place, length, more, identification). Besides memory errors it
// looks for a byte that would be forwarded twice, and for an order of things in which what waits is lost or doubled.
#include "dataplane/flow/fragment_table.h"

#include <bitset>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

using sluice::Datagram;
using sluice::Fragment;
using sluice::FragmentTable;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static FragmentTable table;
  static std::uintptr_t next = 1;
  const sluice::FragmentLimits limits{8, 16'000, 1'000};
  sluice::Instant now{1'000};
  std::map<std::uint32_t, std::bitset<8'192>> forwarded;  // by the time its datagram began, in units of eight bytes
  std::set<std::uintptr_t> waiting;
  sluice::HeldFragment out;
  const auto take_all = [&] {
    while (table.take_ready(out) || table.take_lost(out)) require(waiting.erase(reinterpret_cast<std::uintptr_t>(out.handle)) == 1);
  };
  for (std::size_t i = 0; i + 4 <= bytes; i += 4) {
    now.ms += 1;
    sluice::FlowKey name;
    name.destination_port = sluice::be16(data[i + 3] & 0x0f);
    Datagram& datagram = table.find_or_add(name, data[i + 3] & 0x0f, now, limits);
    require(datagram.name == name);
    Fragment fragment;
    fragment.offset_bytes = data[i] * 8u;
    fragment.payload_bytes = 8u * (1 + (data[i + 1] & 0x1fu));
    fragment.has_more = (data[i + 2] & 1) != 0;
    switch (data[i + 2] >> 1 & 3) {
      case 0:
      case 1: {
        auto& seen = forwarded[datagram.begun_stamp];
        if (datagram.is_refused || table.take(datagram, fragment) != FragmentTable::Taken::added) break;
        for (std::uint32_t at = fragment.offset_bytes / 8; at < (fragment.offset_bytes + fragment.payload_bytes) / 8; ++at) {
          require(!seen[at]);
          seen[at] = true;
        }
        break;
      }
      case 2:
        if (table.hold(datagram, {reinterpret_cast<void*>(next), static_cast<std::uint16_t>(fragment.payload_bytes * 8), 0, 0}, limits)) {
          waiting.insert(next++);
        }
        break;
      case 3: table.make_ready(datagram); break;
    }
    require(table.held_count() == waiting.size() && table.waiting_bytes() <= limits.held_bytes_max);
    require(table.datagram_count() <= limits.datagrams_max);
    if ((data[i + 3] & 0x40) != 0) take_all();
    if ((data[i + 3] & 0x80) != 0) table.expire({now.ms + (data[i + 3] & 0x20 ? 2'000 : 0)}, limits.timeout_ms);
  }
  table.expire({now.ms + 2'000}, limits.timeout_ms);
  take_all();
  require(waiting.empty() && table.held_count() == 0 && table.waiting_bytes() == 0 && table.datagram_count() == 0);
  return 0;
}
