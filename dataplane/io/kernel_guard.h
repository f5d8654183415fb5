// KernelGuard: keeps the kernel of the host from seeing what is ours on one interface (kernel_guard.bpf.c).
//
// Attached before the port is opened, with full maps, in the place of the last process's: from the first start on there
// is no moment in which the kernel could answer for our addresses, whatever becomes of this process. It is left
// behind at the end on purpose; `tc qdisc del dev INTERFACE clsact` removes it.
// Threads: the control thread. Errors: a kernel without clsact or cls_bpf; the caller may go on without.
#pragma once

#include <string>

#include "dataplane/base/result.h"
#include "dataplane/io/ours_maps.h"

namespace sluice {

class KernelGuard {
 public:
  static Result<KernelGuard> attach(const std::string& interface, const std::string& object_path,
                                    const XdpContent& content);
  Result<void> update(const XdpContent& content) { return maps_.update(content, interface_); }

 private:
  KernelGuard() = default;
  std::string interface_;
  OursMaps maps_;
};

}  // namespace sluice
