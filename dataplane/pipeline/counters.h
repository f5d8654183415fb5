// Counters: what one lcore has seen. One writer (the lcore), any number of readers.
//
// The ledger, exact at any quiet moment, over all lcores:
//   received == forward + reply + reject + punt + absorb + sum of drops + held + in handoff rings
//   sent     == forward + reply + reject + punt + generated
// (copies of ARP and ND are made for and absorbed by the other lcores: they stand on the left as `copied`),
// where each lcore by itself counts  received + handed_in + released == sum of its verdicts  and
// held == hold - released.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "dataplane/pipeline/verdict.h"
#include "dataplane/tables/snapshot_rows.h"

namespace sluice {

// A 64-bit count that one lcore writes and others may read. Not a read-modify-write: the writer is alone.
class Counter {
 public:
  void add(std::uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void subtract(std::uint64_t n) { add(~n + 1); }
  std::uint64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};
static_assert(sizeof(Counter) == 8);

struct VipCounters {
  Counter flows_opened, flows_active;
  Counter rx_packets, rx_bytes;  // from clients
  Counter tx_packets, tx_bytes;  // to clients
  Counter dropped;
  Counter half_open;             // of the active flows: TCP whose handshake is not complete, spliced ones not counted
};
static_assert(sizeof(VipCounters) == 64);

struct EndpointCounters {
  Counter flows_opened, flows_active;
  Counter to_packets, to_bytes;      // to the endpoint
  Counter from_packets, from_bytes;  // from it
  Counter reserved[2];
};
static_assert(sizeof(EndpointCounters) == 64);

struct CookieCounters {
  Counter sent, accepted;
  Counter is_on, turned_on;  // by threshold
};
static_assert(sizeof(CookieCounters) == 32);

// What happens to spliced connections beside packets.
// clang-format off
#define SLUICE_SPLICE_EVENTS(X)                                                                        \
  X(cookie_sent, "SYNs answered with a cookie")                                                        \
  X(cookie_accepted, "handshakes that clients completed")                                              \
  X(proxy_header, "connections that began with a PROXY header of a trusted proxy")                      \
  X(called, "SYNs to endpoints, repeated ones not counted")                                            \
  X(joined, "connections whose endpoint has taken over")                                               \
  X(hello_timeout, "clients that did not say in time where they want to go; they got a reset")         \
  X(endpoint_refused, "calls that the endpoint answered with a reset")                                 \
  X(endpoint_silent, "calls that the endpoint did not answer")                                         \
  X(delivery_failed, "endpoints that answered and then did not acknowledge a client's first bytes")
// clang-format on

struct SpliceCounters {
#define SLUICE_SPLICE_COUNTER(name, help) Counter name;
  SLUICE_SPLICE_EVENTS(SLUICE_SPLICE_COUNTER)
#undef SLUICE_SPLICE_COUNTER
};

// Zeroed memory that the kernel hands out page by page when it is first touched: most ids are unused.
template <class Row>
class CounterArray {
 public:
  explicit CounterArray(std::size_t count) : rows_(static_cast<Row*>(std::calloc(count, sizeof(Row)))) {}
  Row& operator[](std::size_t id) { return rows_.get()[id]; }
  const Row& operator[](std::size_t id) const { return rows_.get()[id]; }

 private:
  struct Free {
    void operator()(Row* rows) const { std::free(rows); }
  };
  std::unique_ptr<Row, Free> rows_;
};

struct Counters {
  Counter received;   // packets taken from ports and from the exception port
  Counter handed_in;  // packets that other lcores gave us (copies of ARP and ND among them)
  Counter released;   // packets that left the hold queue, either way
  Counter generated;  // packets that we made and sent: ARP, neighbour discovery, segments of spliced connections
  Counter copied;     // copies of ARP and ND packets made for other lcores
  // What was not received and so has no verdict. It is asked, sent or learnt again later.
  Counter own_no_buffer;  // frames of our own, and copies for other lcores, for which no packet buffer was free
  Counter own_refused;    // frames of our own that a transmit queue, and copies that another lcore's ring, did not take
  Counter verdicts[verdict_count];
  Counter snat_port_probes;  // tries to find a free SNAT port; rises faster than flows when a pool runs out
  // SYN-ACKs of endpoints, by the port they came in by: on the lcore of their flow at once, or handed to it.
  Counter first_replies[ports_max], first_replies_handed[ports_max];
  SpliceCounters splice;
  CounterArray<VipCounters> vips{vips_max};                 // by VipRow::id
  CounterArray<CookieCounters> cookies{vips_max};           // by VipRow::id
  CounterArray<Counter> flows_by_connection_id{vips_max};   // by VipRow::id: to the endpoint that a QUIC connection ID names
  CounterArray<EndpointCounters> endpoints{endpoints_max};  // by EndpointRow::id

  Counter& of(Verdict verdict) { return verdicts[static_cast<std::size_t>(verdict)]; }
  const Counter& of(Verdict verdict) const { return verdicts[static_cast<std::size_t>(verdict)]; }
};

}  // namespace sluice
