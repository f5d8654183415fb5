// OursMaps: the three maps that ours.bpf.h declares, as one loaded program holds them, and what is in them.
// Threads: the control thread.
#pragma once

#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/io/xdp_plan.h"

namespace sluice {

class OursMaps {
 public:
  // Takes `map` if its name and key are those of one of the three.
  void take(Fd map);
  bool is_complete() const { return addresses_ && sources_ && host_; }

  // Brings the maps to `content`. An error names `interface`.
  Result<void> update(const XdpContent& content, const std::string& interface);

 private:
  Fd addresses_;
  Fd sources_;
  Fd host_;
  XdpContent content_;  // what the maps hold
};

}  // namespace sluice
