#include "dataplane/io/flow_rules.h"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_flow.h>

#include <algorithm>

#include "dataplane/flow/reply_owner.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

// One ingress rule: Ethernet / IP to the address / TCP or UDP to the port under its mask -> queue.
class RteFlowTaker : public RuleTaker {
 public:
  explicit RteFlowTaker(std::uint16_t ethdev) : ethdev_(ethdev) {}

  Result<void*> create(const FlowRule& rule) override {
    const bool is_v4 = rule.destination.is_v4(), is_tcp = rule.protocol == protocol::tcp;
    rte_flow_attr attributes{};
    attributes.ingress = 1;
    rte_flow_item_ipv4 ipv4{}, ipv4_mask{};
    rte_flow_item_ipv6 ipv6{}, ipv6_mask{};
    if (is_v4) {
      ipv4.hdr.dst_addr = rule.destination.as_v4().raw;
      ipv4_mask.hdr.dst_addr = UINT32_MAX;
    } else {
      const auto bytes = rule.destination.bytes();
      std::copy(bytes.begin(), bytes.end(), ipv6.hdr.dst_addr);
      std::fill(std::begin(ipv6_mask.hdr.dst_addr), std::end(ipv6_mask.hdr.dst_addr), std::uint8_t{0xff});
    }
    rte_flow_item_tcp tcp{}, tcp_mask{};
    tcp.hdr.dst_port = be16(rule.port).raw;
    tcp_mask.hdr.dst_port = be16(rule.port_mask).raw;
    rte_flow_item_udp udp{}, udp_mask{};
    udp.hdr.dst_port = tcp.hdr.dst_port;
    udp_mask.hdr.dst_port = tcp_mask.hdr.dst_port;

    rte_flow_item pattern[4]{};
    pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    pattern[1].type = is_v4 ? RTE_FLOW_ITEM_TYPE_IPV4 : RTE_FLOW_ITEM_TYPE_IPV6;
    pattern[1].spec = is_v4 ? static_cast<const void*>(&ipv4) : &ipv6;
    pattern[1].mask = is_v4 ? static_cast<const void*>(&ipv4_mask) : &ipv6_mask;
    pattern[2].type = is_tcp ? RTE_FLOW_ITEM_TYPE_TCP : RTE_FLOW_ITEM_TYPE_UDP;
    pattern[2].spec = is_tcp ? static_cast<const void*>(&tcp) : &udp;
    pattern[2].mask = is_tcp ? static_cast<const void*>(&tcp_mask) : &udp_mask;
    pattern[3].type = RTE_FLOW_ITEM_TYPE_END;
    rte_flow_action_queue queue{};
    queue.index = rule.queue;
    rte_flow_action actions[2]{};
    actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
    actions[0].conf = &queue;
    actions[1].type = RTE_FLOW_ACTION_TYPE_END;

    rte_flow_error error{};
    rte_flow* flow = rte_flow_create(ethdev_, &attributes, pattern, actions, &error);
    if (flow != nullptr) return flow;
    return fail(error.message != nullptr ? std::string(error.message) : std::string(rte_strerror(rte_errno)));
  }

  void destroy(void* handle) override {
    rte_flow_error error{};
    rte_flow_destroy(ethdev_, static_cast<rte_flow*>(handle), &error);
  }

 private:
  std::uint16_t ethdev_;
};

}  // namespace

std::unique_ptr<RuleTaker> rte_flow_taker(std::uint16_t ethdev) { return std::make_unique<RteFlowTaker>(ethdev); }

std::vector<PortBlock> blocks_of(std::uint16_t first, std::uint16_t last) {
  std::vector<PortBlock> blocks;
  for (std::uint32_t at = first; at <= last;) {
    std::uint32_t size = at == 0 ? 0x10000 : at & (~at + 1);  // the largest that may begin here
    while (at + size - 1 > last) size /= 2;
    blocks.push_back({static_cast<std::uint16_t>(at), static_cast<std::uint16_t>(~(size - 1))});
    at += size;
  }
  return blocks;
}

std::vector<FlowRule> flow_rules_for(const Snapshot& tables, std::uint32_t worker_count) {
  std::vector<FlowRule> rules;
  for (const SnatPoolRow& pool : tables.snat_pools()) {
    const auto addresses = tables.snat_addresses().subspan(pool.first_address, pool.address_count_v4 + pool.address_count_v6);
    for (std::uint32_t worker = 0; worker < worker_count; ++worker) {
      const PortSlice slice = slice_of(pool, worker, worker_count);
      for (const PortBlock& block : blocks_of(slice.first, slice.last)) {
        for (const IpAddress& address : addresses) {
          for (const std::uint8_t number : {protocol::tcp, protocol::udp}) {
            rules.push_back({address, block.port, block.mask, number, static_cast<std::uint16_t>(worker)});
          }
        }
      }
    }
  }
  std::sort(rules.begin(), rules.end());
  return rules;
}

Result<void> FlowRules::update(const std::vector<FlowRule>& wanted) {
  if (wanted.size() > flow_rules_max) {
    clear();
    return fail(fmt::format("{} rules would be needed, at most {} are set; use fewer SNAT addresses", wanted.size(), flow_rules_max));
  }
  std::erase_if(rules_, [&](const Installed& installed) {
    if (std::binary_search(wanted.begin(), wanted.end(), installed.rule)) return false;
    taker_->destroy(installed.handle);
    return true;
  });
  std::vector<Installed> added;
  for (const FlowRule& rule : wanted) {
    if (std::binary_search(rules_.begin(), rules_.end(), Installed{rule}, is_before)) continue;
    const auto handle = taker_->create(rule);
    if (!handle) {
      rules_.insert(rules_.end(), added.begin(), added.end());
      clear();
      return fail(fmt::format("the driver refuses the rule for {}, ports {} under mask {:#x}: {}", rule.destination.text(), rule.port,
                              rule.port_mask, handle.error().message));
    }
    added.push_back({rule, *handle});
  }
  rules_.insert(rules_.end(), added.begin(), added.end());
  std::sort(rules_.begin(), rules_.end(), is_before);
  return {};
}

void FlowRules::clear() {
  for (const Installed& installed : rules_) taker_->destroy(installed.handle);
  rules_.clear();
}

}  // namespace sluice
