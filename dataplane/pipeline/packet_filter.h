// PacketFilter: which packets an operator wants to see. A small language, for traces, captures and
// lists of flows:
//
//   host 198.51.100.7 and port 80
//   net 10.2.0.0/16 and not (proto udp or vip web)
//   verdict drop_no_flow                verdict drop: any drop
//
//   term    any | host ADDRESS | src ADDRESS[/N] | dst ADDRESS[/N] | net PREFIX | port N[-M] |
//   proto NAME |
//           vip NAME | endpoint NAME | state NAME | port-name NAME | verdict NAME
//   filter  terms joined by `and`, `or`, `not` and parentheses; terms side by side mean `and`
//
// An address or port matches the packet as it came in and as it leaves: `host` of an endpoint finds
// both directions of its flows, and where proxies stand before a VIP, the client that their PROXY
// header names is found as they are. `vip` takes the name of a VIP or of its virtual host. Empty means
// any. Errors: parse() says which word is wrong and what may stand there. Cost: not for the packet
// path while nobody looks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/net/parse.h"
#include "dataplane/pipeline/verdict.h"
#include "dataplane/tables/snapshot.h"

namespace sluice {

// What a filter may ask. A flow is asked with its two five-tuples, and has neither ports of ours
// nor a verdict.
struct PacketFacts {
  const FlowKey* before = nullptr;  // as it came in; nullptr when it has no addresses
  const FlowKey* after = nullptr;   // as it leaves
  const FlowKey* named = nullptr;   // of the client that a PROXY header names, toward the VIP
  FrameKind kind = FrameKind::other;
  std::string_view vip, virtual_host, endpoint, port_in, port_out;
  Verdict verdict = Verdict::undecided;
  FlowState state = FlowState::unused;  // of the flow, where there is one
};

std::string_view name_of(FrameKind kind);  // "tcp"

class PacketFilter {
 public:
  static constexpr std::size_t steps_max = 64;

  // Names of VIPs, endpoints and ports must be those of `tables`.
  static Result<PacketFilter> parse(std::string_view text, const Snapshot& tables);
  bool matches(const PacketFacts& facts) const;
  // What it asks that only a packet has: "port-name", "verdict"; empty for none.
  std::string_view asked_of_packets_only() const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind : std::uint8_t {
    any,
    host,
    source,
    destination,
    ports,
    protocol,
    vip,
    endpoint,
    state,
    port_name,
    verdict,
    verdict_class,
    both,
    either,
    negated  // of what stands before it
  };
  struct Step {
    Kind kind = Kind::any;
    FrameKind frame = FrameKind::other;
    Verdict verdict = Verdict::undecided;
    FlowState state = FlowState::unused;
    bool is_reject = false;             // verdict_class: else drop
    std::uint16_t first = 0, last = 0;  // ports, both included
    IpPrefix prefix;
    std::string name;
  };
  class Parser;

  static bool is_true(const Step& step, const PacketFacts& facts);

  std::vector<Step> steps_;  // postfix: a term, or an operation on the results before it
  std::string text_;
};

}  // namespace sluice
