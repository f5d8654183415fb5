// Prober: runs TCP health checks on a thread of its own: non-blocking sockets, one epoll, no limit
// on probes but the process's file descriptors.
//
// Threads: set_targets() may be called from any thread. `report` is called on the prober's thread,
// for every change of verdict.
//
// Time: when the thread was not running for a while (SIGSTOP, a stalled machine), the probes that
// were under way are dropped without a verdict and made anew.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/address.h"
#include "mgmt/health/health_state.h"

namespace sluice {

struct ProbeSpec {
  HealthTarget target;
  IpAddress address;
  std::uint16_t port = 0;
  // Set: the check goes the way of clients' packets to this endpoint, by its id in the snapshot; from an address of the box.
  std::optional<std::uint32_t> direct_id;
  IpAddress source;
  std::string place;              // for the operator: "10.9.0.1:80 by DSR_GUE at 10.2.0.11"; empty: address and port
  std::string send_payload;       // bytes
  std::string expected_response;  // bytes that the answer must begin with
  HealthPolicy policy;
};

class Prober {
 public:
  using Report = std::function<void(const HealthTarget&, const HealthRecord&)>;

  static Result<Prober> create(Report report);
  Prober(Prober&&) noexcept;
  Prober& operator=(Prober&&) noexcept;
  ~Prober();

  // The targets from now on. A target that stays keeps its verdict unless its address or port
  // or its way changed; one that is new begins with its record in `known`, or as unknown.
  void set_targets(std::vector<ProbeSpec> specs, HealthRecords known);

 private:
  struct State;
  explicit Prober(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
