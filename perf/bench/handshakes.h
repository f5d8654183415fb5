// Spliced connections from the client's SYN to the endpoint's acknowledgment of what the client said: the client's and the
// endpoint's packets, in batches of the same step, every answer verified.
#pragma once

#include <vector>

#include "perf/bench/rig.h"

namespace sluice::perf {

// TLS ClientHello (RFC 8446 4.1.2) of 517 bytes, as browsers pad it.
std::vector<std::byte> client_hello(std::string_view name);

class Handshakes {
 public:
  static constexpr std::size_t count_max = 1'024;
  static constexpr std::size_t packets_per_connection = 5;  // that arrive: SYN, ACK, hello; SYN-ACK, ACK

  explicit Handshakes(Rig& rig);
  // clk per connection for all steps.
  double run(std::span<const FlowKey> clients);
  // Of the last run, in its order.
  std::span<FlowRecord* const> joined() const { return joined_; }
  void close_all();

 private:
  struct Connection {
    FlowKey client, reply;
    std::uint32_t cookie = 0;
  };
  // Runs what is in the batch; `visit` sees each packet with its connection, and what we sent ourselves on its behalf.
  template <class Visit>
  void step(std::size_t generated_each, Visit visit);

  Rig& rig_;
  Batch batch_;
  std::vector<std::vector<std::byte>> hellos_;
  std::vector<Connection> connections_;
  std::vector<FlowRecord*> joined_;
  std::uint64_t spent_ = 0;
};

}  // namespace sluice::perf
