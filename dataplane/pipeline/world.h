// World: all that the stages of one lcore may touch. There is nothing behind their backs: no globals,
// no clock, and of other lcores only what SharedLimits says.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/base/units.h"
#include "dataplane/flow/conntrack.h"
#include "dataplane/flow/fragment_table.h"
#include "dataplane/flow/pending_splices.h"
#include "dataplane/flow/snat_ports.h"
#include "dataplane/flow/splices.h"
#include "dataplane/net/syn_cookie.h"
#include "dataplane/pipeline/cookie_switches.h"
#include "dataplane/pipeline/counters.h"
#include "dataplane/pipeline/flow_limits.h"
#include "dataplane/pipeline/neighbors.h"
#include "dataplane/pipeline/packet.h"
#include "dataplane/pipeline/rate_limits.h"
#include "dataplane/pipeline/shared_limits.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

struct PortFacts {  // what the stages must know of a port; index as in Snapshot::ports()
  MacAddress mac{};
  std::uint16_t mtu = 1'500;
  std::uint16_t vlan = 0;    // its frames carry this tag; 0: none
  std::uint16_t parent = 0;  // by which a port with a tag sends and receives; else the port itself
  bool is_present = false;
};

// Bounded list that the pipeline fills and settle empties.
template <class Item, std::size_t count_max>
class Outbox {
 public:
  // nullptr when full: the caller tries again later or counts the loss.
  Item* add() {
    if (count_ == count_max) return nullptr;
    Item& item = items_[count_++];
    if constexpr (requires { item.tail; }) item.tail = {};  // of a frame that was here before
    return &item;
  }
  std::span<Item> items() { return {items_.data(), count_}; }
  std::size_t room() const { return count_max - count_; }
  void clear() { count_ = 0; }

 private:
  std::array<Item, count_max> items_;
  std::size_t count_ = 0;
};

class Watch;

struct World {
  // `limits_of_box`: the same for all lcores of a process; outlives their Worlds, which must all be there before one works.
  World(Conntrack flows_of_this_lcore, std::uint32_t lcore_index, std::uint32_t lcores, SharedLimits& limits_of_box)
      : flows(std::move(flows_of_this_lcore)),
        replies(std::make_shared<const ReplyOwner>(lcores)),
        shared_limits(limits_of_box),
        flow_limits(limits_of_box),
        rate_limits(limits_of_box, lcores),
        lcore(lcore_index),
        lcore_count(lcores) {
    shared_limits.counters.push_back(&counters);
  }

  const Snapshot* tables = nullptr;  // replaced between bursts, never inside one
  Conntrack flows;                   // this lcore's flows
  std::shared_ptr<const ReplyOwner> replies;  // the same on every lcore, from the start on
  SnatPorts snat_ports;              // this lcore's part of each snat_pool
  FragmentTable fragments;           // datagrams of which fragments have come
  std::uint32_t fragment_id = 0;     // the last one given out, see fragments.cc
  Splices splices;                   // records of its spliced flows
  PendingSplices pending;            // connections on their way to become such, see splice.h
  NeighborTable neighbors;           // hardware addresses of next hops
  SharedLimits& shared_limits;       // what must hold for the box
  FlowLimits flow_limits;            // of VIPs and endpoints
  RateLimits rate_limits;            // of VIPs, of sources and of ICMP of our own
  CookieSwitches cookie_switches;    // of VIPs that answer with SYN cookies for a while
  Counters counters;
  std::array<FlowRecord, burst_count_max> passing{};  // of this burst's datagrams that leave no record, see one_packet.cc
  std::uint32_t passing_count = 0;
  std::uint32_t peek_count = 0;  // packets of this burst that are for peek(); classify() counts them
  Outbox<GeneratedFrame, generated_count_max> generated;
  Outbox<ReleasedPacket, 512> released;
  std::array<PortFacts, ports_max + 1> ports{};  // the exception port last
  MacAddress exception_mac{};        // the kernel's end of the exception port
  bool has_exception_port = false;
  bool has_packet_limits = false;    // some VIP limits packets a second
  bool has_probes = false;           // health checks may go the way of clients, see probe.cc
  bool is_rss_stable = true;         // false: any lcore may see any packet of a flow, see classify.cc
  bool is_leaving = false;           // set between bursts: a graceful shutdown, nothing new is taken
  Watch* watch = nullptr;            // set between bursts while an operator traces or captures
  SipKey cookie_secret{};            // of SYN cookies: the same on every lcore, new for each process
  std::uint16_t mtu_min = 1'500;     // of the ports
  std::bitset<endpoints_max> lacks_timestamps;  // endpoints, by id, that did not agree on TCP timestamps when last called
  Instant now;                       // read once per burst
  Instant swept;                     // until when expiry knows what it owes
  std::uint64_t sweep_debt = 0;      // what it owes: records to look at, times milliseconds of a round
  std::uint64_t unchecked_count = 0; // records that expiry has not yet seen under the present snapshot
  std::uint32_t routes_check = 0;    // of the snapshot before
  Instant neighbors_checked;
  Instant pending_checked;
  std::uint16_t neighbor_next = 0;   // where the next check begins: the last one had no room for more questions
  std::uint32_t lcore = 0;           // index, 0 ...
  std::uint32_t lcore_count = 1;
  std::uint64_t random_state = 0x9e3779b97f4a7c15ull;
  std::array<std::uint32_t, 1024> rotation{};  // round-robin position by cluster id (modulo the size)
};

}  // namespace sluice
