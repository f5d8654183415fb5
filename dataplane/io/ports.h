// Ports: the network ports of this process, set up as the snapshot's rows say.
//
// A *slot* is a port's place in this object; it never changes while the process lives. A *row* is its place in
// the snapshot of the moment. slot_of_row() maps one to the other by name and device.
// Order of setting up a port: claim the interface, put the guard before the kernel, probe, configure, detach
// what a killed predecessor left, start, fill the maps of the XDP program.
// Threads: the control thread, except where noted. Errors: name the port and what to do; whatever was opened
// is closed again.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/io/flow_rules.h"
#include "dataplane/io/host_addresses.h"
#include "dataplane/io/kernel_guard.h"
#include "dataplane/io/steering.h"
#include "dataplane/io/xdp_program.h"
#include "dataplane/net/address.h"
#include "dataplane/tables/snapshot.h"

struct rte_mempool;

namespace sluice {

struct Port {
  std::string name, profile, driver, device;
  std::string eal_name;              // "net_af_xdp0", "0000:01:00.0"
  std::string interface;             // of the kernel's, which the driver uses; empty: none
  std::uint16_t ethdev = 0;          // DPDK's number
  std::uint16_t queue_count = 0;     // receive and transmit
  std::uint16_t mtu = 0;
  MacAddress mac{};
  bool is_bifurcated = false;
  bool is_rss_stable = false;        // as the profile declares it
  std::vector<std::string> offloads; // in use, by DPDK's names
  std::vector<Steering> ways;        // of steering, as the profile prefers them
  Result<RssFacts> rss = fail("not asked");
  Steering steering = Steering::handoff;
  std::string steering_reason;
  SteeringProof proof;
  std::optional<FlowRules> rules;    // that steer
  std::uint64_t first_replies = 0, first_replies_handed = 0;  // as observe_replies() was told
  std::optional<InterfaceClaim> claim;
  std::optional<KernelGuard> guard;
  std::optional<XdpProgram> xdp;
};

struct PortStats {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  std::uint64_t rx_missed = 0, rx_no_buffer = 0;
  bool is_link_up = false;
};

// The driver's part of "--vdev=net_af_xdp0,iface=veth0,...": name and arguments. "--allow=0000:01:00.0": the
// address, already probed.
struct EalOption {
  std::string name;
  std::string arguments;
  bool is_virtual = false;
  // The value of `key` among the arguments; empty when it is not there.
  std::string argument(std::string_view key) const;
  static Result<EalOption> parse(std::string_view text, const std::string& xdp_program_path);
};

// What can be said of the ports before EAL runs: EAL starts once in a process, and a wrong device on its command line
// would spend that one time.
Result<void> check_ports(const Snapshot& tables);

class Ports {
 public:
  // Needs a running EAL. `bpf_dir`: where xdp_redirect.bpf.o and kernel_guard.bpf.o are.
  static Result<Ports> open(const Snapshot& tables, const std::string& bpf_dir);
  Ports(Ports&& other) noexcept;
  Ports& operator=(Ports&&) = delete;
  ~Ports();  // stops and closes: the XDP programs are detached

  std::size_t count() const { return ports_.size(); }
  const Port& operator[](std::size_t slot) const { return ports_[slot]; }
  rte_mempool* pool() const { return pool_; }
  rte_mempool* jumbo_pool() const { return jumbo_pool_; }  // for frames that need more; nullptr when no port takes such

  // Opens the TAP toward the kernel. Its DPDK number, for the worker.
  Result<std::uint16_t> open_exception_port(const std::string& interface, std::uint16_t mtu);
  bool has_exception_port() const { return has_exception_port_; }
  std::uint16_t exception_ethdev() const { return exception_ethdev_; }
  MacAddress exception_mac() const;  // the PMD's end

  // By row of `tables`: the slot, or nothing when this process has no such port. A sub-interface has its parent's.
  std::array<std::optional<std::uint16_t>, ports_max> slot_of_row(const Snapshot& tables) const;
  // Brings our programs in the kernel to what `tables` serves and to the addresses that the host has now.
  Result<void> serve_addresses(const Snapshot& tables);
  // The host's addresses have changed since: serve_addresses() again.
  bool has_host_changed() { return host_ && host_->has_changed(); }
  // Where replies of FULL_NAT flows belong, as long as this process lives.
  const std::shared_ptr<const ReplyOwner>& replies() const { return replies_; }
  // First replies of endpoints that came in by the port: to the lcore of their flow, or to another that had to hand them
  // on. A way of steering that does not do what it promises is given up, and says so.
  void observe_replies(std::size_t slot, std::uint64_t arrived, std::uint64_t handed);
  PortStats stats(std::size_t slot) const;
  std::uint64_t blocked_packets() const;  // dropped by the XDP programs of all ports

 private:
  Ports() = default;
  Result<void> open_port(const Snapshot& tables, const PortRow& row, const std::string& bpf_dir);
  XdpContent content_of(const Snapshot& tables) const;
  void choose_steering(const Snapshot& tables);
  void set_rules(Port& port, const Snapshot& tables);

  std::vector<Port> ports_;
  std::optional<HostAddresses> host_;
  rte_mempool* pool_ = nullptr;
  rte_mempool* jumbo_pool_ = nullptr;
  std::shared_ptr<const ReplyOwner> replies_;
  bool has_exception_port_ = false;
  std::uint16_t exception_ethdev_ = 0;
};

}  // namespace sluice
