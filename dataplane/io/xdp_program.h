// XdpProgram: our program on the interface of one AF_XDP port, and the contents of its maps.
//
// The driver loads and attaches the program when the port is set up; this class finds it afterwards and
// fills its maps. What it also does, before the driver comes: take the interface for this process, and
// detach a program that a killed predecessor left behind.
// Threads: the control thread. Errors: name the interface and what to do.
#pragma once

#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/io/ours_maps.h"

namespace sluice {

// Holds an interface for one dataplane process: an abstract socket whose name the kernel forgets with the
// process, in the network namespace of the interface.
class InterfaceClaim {
 public:
  static Result<InterfaceClaim> take(const std::string& interface);

 private:
  explicit InterfaceClaim(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;
};

// Detaches a program of ours that nobody uses any more. Refuses when the interface carries another's.
// Call only while holding the claim.
Result<void> detach_stale_xdp_program(const std::string& interface);

class XdpProgram {
 public:
  // After the port was set up.
  static Result<XdpProgram> find(const std::string& interface);

  // Packets of blocked sources that it dropped.
  std::uint64_t blocked_packets() const { return maps_.blocked_packets(); }
  // Brings the maps to `content`.
  Result<void> update(const XdpContent& content) { return maps_.update(content, interface_); }

 private:
  XdpProgram() = default;

  std::string interface_;
  OursMaps maps_;
};

}  // namespace sluice
