// OursMaps: the four maps that ours.bpf.h declares, as one loaded program holds them, and the two of its blocklist that
// the XDP program has beside them; and what is in them.
// Threads: the control thread.
#pragma once

#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"
#include "dataplane/io/xdp_plan.h"

namespace sluice {

class OursMaps {
 public:
  // Takes `map` if its name and key are those of one of them.
  void take(Fd map);
  bool is_complete() const { return addresses_ && networks_ && sources_ && host_; }
  // Of the XDP program only: it drops blocked sources, and counts them.
  bool has_blocklist() const { return blocked_ && drops_; }
  std::uint64_t blocked_packets() const;

  // Brings the maps to `content`. An error names `interface`.
  Result<void> update(const XdpContent& content, const std::string& interface);

 private:
  Fd addresses_;
  Fd networks_;
  Fd sources_;
  Fd host_;
  Fd blocked_, drops_;
  XdpContent content_;  // what the maps hold
};

}  // namespace sluice
