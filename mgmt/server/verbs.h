// The verbs of mgmt's control socket: request in, JSON reply out.
#pragma once

#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/units.h"
#include "mgmt/server/manager.h"

namespace sluice {

// `started` and `now` give the uptime. Never fails: what is wrong is in the reply.
std::string answer(Manager& manager, const ControlRequest& request, Instant started, Instant now);

}  // namespace sluice
