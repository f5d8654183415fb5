// The commands that end the dataplane in its own time, a graceful shutdown: drain dataplane waits until it has ended and shows
// what is left meanwhile; undrain dataplane calls it off.
#pragma once

#include "mgmt/shell/context.h"

namespace sluice {

int drain_dataplane(Context& context, const Invocation& invocation);
int undrain_dataplane(Context& context, const Invocation& invocation);

}  // namespace sluice
