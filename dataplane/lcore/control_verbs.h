// The replies of the control socket that only look: what the running engine has to tell, as JSON.
// Counters are read as they stand, the lcores are not stopped for it.
// Threads: the control thread.
#pragma once

#include <string>

#include "dataplane/base/control_channel.h"
#include "dataplane/lcore/engine.h"
#include "dataplane/pipeline/packet_filter.h"

namespace sluice {

std::string ports_reply(const Engine& engine);
std::string drops_reply(const Engine& engine);
std::string ledger_reply(const Engine& engine);
std::string vips_reply(const Engine& engine);
std::string endpoints_reply(const Engine& engine);
// Arguments: limit, client, vip, endpoint, protocol. Payload: a filter of pipeline/packet_filter.h.
std::string flows_reply(const Engine& engine, const ControlRequest& request);
std::string neighbors_reply(const Engine& engine);
std::string splices_reply(const Engine& engine);
std::uint64_t flows_in_use(const Engine& engine);
// Clients that have shaken hands with us and have no flow yet.
std::uint64_t pending_clients(const Engine& engine);

// What a flow must be to be shown. Empty: anything.
struct FlowFilter {
  std::optional<IpAddress> client;  // or the client that a proxy has named
  std::string vip;       // name of the VIP or of its virtual_host
  std::string endpoint;  // name
  std::uint8_t protocol = 0;
  std::uint64_t limit = 100;
  PacketFilter more;

  static Result<FlowFilter> parse(const ControlRequest& request, const Snapshot& tables);
  bool matches(const Snapshot& tables, const FlowRecord& record, const std::optional<NamedClient>& named) const;
};

}  // namespace sluice
