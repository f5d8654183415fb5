// The `show` commands: ask, then a table, or the reply itself with --json.
// virtual-hosts, clusters, endpoints and config come from mgmt; vips, flows, ports, drops and
// neighbors from the dataplane itself, so that they answer when mgmt is dead. version asks both.
#pragma once

#include <string>

#include "mgmt/shell/context.h"

namespace sluice {

int show_virtual_hosts(Context& context, const Invocation& invocation);
int show_vips(Context& context, const Invocation& invocation);
int show_clusters(Context& context, const Invocation& invocation);
int show_endpoints(Context& context, const Invocation& invocation);
int show_config(Context& context, const Invocation& invocation);
int show_flows(Context& context, const Invocation& invocation);
int show_ports(Context& context, const Invocation& invocation);
int show_drops(Context& context, const Invocation& invocation);
int show_neighbors(Context& context, const Invocation& invocation);
int show_splices(Context& context, const Invocation& invocation);
int show_version(Context& context, const Invocation& invocation);

// What the interactive shell says first: the version and whether both processes answer, so that a
// dead one is seen before the first command.
std::string greeting(const Peers& peers);

}  // namespace sluice
