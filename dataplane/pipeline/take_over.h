// Taking over: what a process goes on with of the flow records that an earlier one left in its file, and on which lcore.
//
// Taken over is a record that passes its check (flow_record.h), whose VIP and endpoint are still configured where it says,
// whose state its protocol can have, and whose five-tuples no other record has; a spliced one with a SpliceRecord that
// passes its own. All else is cleared. What no check covers (state, time of the last packet, FINs seen, the client's first
// sequence number) decides how long a flow is remembered, never where its packets go.
// All that are taken over count toward the limits of their VIPs and endpoints before the first lcore opens another.
// Threads: the control thread, before the lcores run.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dataplane/flow/flow_file.h"
#include "dataplane/pipeline/world.h"

namespace sluice {

// Whether the ids that the record holds still mean what they meant when its flow opened. Either may be nullptr.
bool is_known(const Snapshot& tables, const FlowRecord& record, const VipRow* vip, const EndpointRow* endpoint);

// `worlds`: one for each lcore, with Conntrack and Splices over the spans of the file, and `replies`. `is_adoptable`: the
// spans hold what was left; else `strays` do. None has been told of a snapshot (adopt_snapshot). How many flows the lcores have then.
std::uint64_t take_over(const Snapshot& tables, std::span<const std::unique_ptr<World>> worlds, bool is_adoptable,
                        std::vector<LeftoverFlow> strays);

}  // namespace sluice
