// Whole TCP connections through the pipeline: ten packets each (three of the handshake, four that
// carry and acknowledge data, three that close), a new one for each that ends, while expiry runs.
#pragma once

#include <array>
#include <vector>

#include "perf/bench/rig.h"

namespace sluice::perf {

// The table of `capacity` flows is kept `share` full: established ones, and `closed_share` of the
// table that are open or wait for their expiry. Time is virtual: it passes as fast as it must for
// expiry to keep up, so that what each connection pays for it depends on closed_share only (the
// sweep looks at 1 / closed_share records to find one to expire).
class Connections {
 public:
  static constexpr std::size_t packets_per_connection = 10;
  static constexpr double closed_share = 0.09;

  Connections(std::uint32_t capacity, double share);

  // clk per connection, over as many as it takes until expiry has gone once round the table: closed
  // flows lie in heaps, so that fewer would show expiry finding none, or nothing else.
  double round();
  // Of this, what expiry took; of the last round().
  double expiry_clk() const { return expiry_clk_; }
  double fill_seen() const;

 private:
  struct Connection {
    FlowKey client, reply;
  };
  static constexpr std::size_t per_cohort = batch_count / packets_per_connection;

  void write();
  void run();  // one batch, in which every tenth packet begins a connection

  Rig rig_;
  std::uint32_t capacity_;
  std::size_t flows_wanted_;
  // cohorts_[k] has had k packets.
  std::array<std::vector<Connection>, packets_per_connection> cohorts_;
  Batch batch_;
  std::vector<FlowKey> leaving_;
  std::uint64_t spent_ = 0, expiry_ = 0;  // clk in run(), so far
  double expiry_clk_ = 0;
};

// Flows that the sweep can expire in a second of the product's own time, all being due.
double expired_per_second(std::uint32_t capacity);

}  // namespace sluice::perf
