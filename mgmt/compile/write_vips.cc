// VIPs: each with what it admits, who may stand before it and by which server names it is chosen.
#include <fmt/core.h>

#include <cstring>

#include "mgmt/api/service_policy.pb.h"
#include "mgmt/compile/sections.h"

namespace sluice {
namespace {

std::uint64_t unit_ns(api::RateLimit::Unit unit) {
  constexpr std::uint64_t second = 1'000'000'000;
  return unit == api::RateLimit::HOUR     ? 3'600 * second
         : unit == api::RateLimit::MINUTE ? 60 * second
                                          : second;
}

RateLimitRow rate_row(const api::RateLimit& limit) {
  const std::uint64_t unit = unit_ns(limit.unit());
  return {unit / limit.total_number(), unit * limit.burst_multiplier()};
}

// The prefixes of the policies in order, and what becomes of sources that none of them lists.
std::vector<PrefixRule> source_rules(const std::vector<ObjectPtr>& policies) {
  std::vector<PrefixRule> rules;
  const auto add_default = [&](std::uint8_t action) {
    rules.push_back({*IpPrefix::parse("0.0.0.0/0"), action});
    rules.push_back({*IpPrefix::parse("::/0"), action});
  };
  for (const ObjectPtr& policy : policies) {
    const auto& spec = static_cast<const api::ServicePolicy&>(policy->effective()).spec();
    const bool is_allow = spec.has_allow_list();
    const api::SourceList& list = is_allow ? spec.allow_list() : spec.deny_list();
    for (const std::string& prefix : list.prefix_list().prefixes()) {
      rules.push_back(
          {*IpPrefix::parse(prefix), is_allow ? source_action::allow : source_action::deny});
    }
    const bool is_given =
        list.default_action_choice_case() != api::SourceList::DEFAULT_ACTION_CHOICE_NOT_SET;
    if (list.has_default_action_allow()) {
      add_default(source_action::allow);
    } else if (list.has_default_action_deny() || (is_allow && !is_given)) {
      add_default(source_action::deny);
    }
  }
  return rules;
}

// What VIPs admit; VIPs with the same policies share a table.
class LimitsCompiler {
 public:
  LimitsCompiler(const ObjectStore& objects, SnapshotWriter& writer, SlotCache* cache)
      : objects_(objects), writer_(writer), cache_(cache) {}

  // For the VIP that was written last.
  void write(const ResolvedVip& vip) {
    const api::VirtualHostExtension& spec = virtual_host_spec(*vip.virtual_host).sluice();
    VipLimitsRow row = no_limits;
    row.flows_max = spec.connection_limit();
    if (spec.syn_cookies() == api::VirtualHostExtension::ON_THRESHOLD) row.cookie_threshold = spec.syn_cookie_threshold();
    if (spec.has_new_connections()) row.new_flows = rate_row(spec.new_connections());
    if (spec.has_new_connections_per_source()) {
      row.source_new_flows = rate_row(spec.new_connections_per_source());
    }
    if (spec.has_packets()) row.packets = rate_row(spec.packets());
    if (spec.has_packets_per_source()) row.source_packets = rate_row(spec.packets_per_source());
    if (spec.service_policies_size() > 0) row.sources = table_of(*vip.virtual_host);
    if (std::memcmp(&row, &no_limits, sizeof row) != 0) writer_.add_limits(row);
  }

  // Tables that no virtual host uses any more are forgotten.
  void finish() {
    if (cache_ != nullptr) {
      std::erase_if(cache_->sources,
                    [&](const auto& known) { return !rows_.contains(known.first); });
    }
  }

 private:
  std::uint32_t table_of(const Object& virtual_host) {
    std::vector<ObjectPtr> policies;
    for (const api::ObjectRef& reference :
         virtual_host_spec(virtual_host).sluice().service_policies()) {
      policies.push_back(
          objects_.find(target_of(reference, "service_policy", virtual_host.key().space)));
    }
    const auto [row, is_new] = rows_.try_emplace(policies, 0);
    if (!is_new) return row->second;
    if (cache_ == nullptr)
      return row->second = writer_.add(build_prefix_table(source_rules(policies)));
    const auto [table, is_fresh] = cache_->sources.try_emplace(policies);
    if (is_fresh) table->second = build_prefix_table(source_rules(policies));
    return row->second = writer_.add(table->second);
  }

  const ObjectStore& objects_;
  SnapshotWriter& writer_;
  SlotCache* cache_;
  std::map<std::vector<ObjectPtr>, std::uint32_t> rows_;
};

// Who may stand before VIPs with accept_proxy_protocol; equal lists share a table.
class ProxiesCompiler {
 public:
  explicit ProxiesCompiler(SnapshotWriter& writer) : writer_(writer) {}

  std::uint16_t row_of(const ResolvedVip& vip) {  // as VipRow::proxies
    const std::vector<std::string> prefixes = vip.proxies();
    if (prefixes.empty()) return 0;
    const auto [row, is_new] = rows_.try_emplace(prefixes, std::uint16_t{0});
    if (!is_new) return row->second;
    std::vector<PrefixRule> rules;
    for (const std::string& prefix : prefixes) rules.push_back({*IpPrefix::parse(prefix), 1});
    return row->second = static_cast<std::uint16_t>(writer_.add(build_prefix_table(rules)) + 1);
  }

 private:
  SnapshotWriter& writer_;
  std::map<std::vector<std::string>, std::uint16_t> rows_;
};

std::uint8_t quic_of(const api::VirtualHostSpec& spec) {
  if (!spec.sluice().has_quic()) return 0;
  const api::QuicRouting& quic = spec.sluice().quic();
  return QuicRouting{static_cast<std::uint8_t>(quic.config_rotation()), static_cast<std::uint8_t>(quic.server_id_length())}.packed();
}

VipPorts ports_kind_of(const ResolvedVip& vip) {
  if (vip.has_all_ports()) return VipPorts::all;
  return vip.ports.size() == 1 && vip.ports.front().is_single() ? VipPorts::one : VipPorts::ranges;
}

SynCookies syn_cookies_of(const api::VirtualHostSpec& spec) {
  switch (spec.sluice().syn_cookies()) {
    case api::VirtualHostExtension::ALWAYS:
      return SynCookies::always;
    case api::VirtualHostExtension::ON_THRESHOLD:
      return SynCookies::on_threshold;
    default:
      return SynCookies::never;
  }
}

// What virtual hosts share that are told apart by server name.
struct Listener {
  std::uint32_t row = 0;
  std::vector<SnapshotWriter::NamePattern> patterns;  // in the order in which they are asked
};
using Listeners = std::map<std::string, Listener>;  // by address and port

// A virtual host with server names, and before it the VIP that it shares with others.
void write_named(SnapshotWriter& writer, const ResolvedVip& vip, VipRow row, std::uint32_t listener_id,
                 Listeners& listeners) {
  const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
  const auto [known, is_new] = listeners.try_emplace(vip.text());
  Listener& listener = known->second;
  if (is_new) {
    VipRow shared = row;
    shared.id = static_cast<std::uint16_t>(listener_id);
    shared.virtual_host = writer.name("");
    shared.state = VipState::ready;
    shared.is_peeking = 1;
    listener.row = writer.add(shared);
  }
  row.is_named = 1;
  const std::uint32_t own = writer.add(row);
  for (const std::string& domain : spec.domains()) {
    if (spec.sluice().alpn().empty()) writer.add_server_name(listener.row, domain, "", own);
    for (const std::string& protocol : spec.sluice().alpn()) {
      writer.add_server_name(listener.row, domain, protocol, own);
    }
  }
  std::string protocols;
  for (const std::string& protocol : spec.sluice().alpn()) {
    protocols += static_cast<char>(protocol.size());
    protocols += protocol;
  }
  for (const std::string& expression : spec.sluice().domain_regexes()) {
    listener.patterns.push_back({expression, protocols, own});
  }
  if (spec.has_default_loadbalancer()) writer.set_default_vip(listener.row, own);
  writer.raise_hello_timeout(listener.row, row.hello_timeout_ms);
}

Result<void> write_name_patterns(SnapshotWriter& writer, const Listeners& listeners, SlotCache* cache) {
  std::map<std::vector<std::string>, std::vector<std::byte>> databases;  // those of this snapshot
  for (const auto& [place, listener] : listeners) {
    if (listener.patterns.empty()) continue;
    std::vector<std::string> expressions;
    for (const auto& pattern : listener.patterns) expressions.push_back(pattern.expression);
    if (cache != nullptr) databases.insert(cache->name_patterns.extract(expressions));
    auto database = databases.find(expressions);
    if (database == databases.end()) {
      auto built = build_name_patterns(expressions);
      if (!built) return fail(fmt::format("{}: the domain_regexes of its virtual hosts: {}", place, built.error().message));
      database = databases.emplace(std::move(expressions), std::move(*built)).first;
    }
    writer.add_name_patterns(listener.row, listener.patterns, database->second);
  }
  if (cache != nullptr) cache->name_patterns = std::move(databases);
  return {};
}

VipRow vip_row(SnapshotWriter& writer, const ResolvedVip& vip, const ClusterResult& cluster, const IdMap& ids,
               ProxiesCompiler& proxies) {
  const api::VirtualHostSpec& spec = virtual_host_spec(*vip.virtual_host);
  VipRow row{};
  row.address = vip.address;
  row.name = writer.name(vip.policy->key().name);
  row.virtual_host = writer.name(vip.virtual_host->key().name);
  row.id = static_cast<std::uint16_t>(*ids.vips.find(vip_id_key(vip)));
  row.cluster = cluster.row;
  row.idle_timeout_ms = idle_timeout_ms_of(spec);
  row.ports = ports_kind_of(vip);
  row.port = be16(vip.has_all_ports() ? std::uint16_t{0} : vip.ports.front().first);
  row.prefix_length = vip.prefix_length;
  row.protocol = vip.protocol;
  row.is_reset_on_expiry = spec.sluice().reset_on_expiry() ? 1 : 0;
  row.mss_max = static_cast<std::uint16_t>(spec.sluice().mss_max());
  row.state = cluster.is_pending ? VipState::pending : VipState::ready;
  row.syn_cookies = syn_cookies_of(spec);
  row.hello_timeout_ms = spec.sluice().hello_timeout();
  row.proxies = proxies.row_of(vip);
  row.default_vip = no_row;
  row.quic = quic_of(spec);
  row.is_one_packet = spec.sluice().one_packet() ? 1 : 0;
  return row;
}

}  // namespace

Result<void> write_vips(SnapshotWriter& writer, const CompileInput& input, const std::vector<ResolvedVip>& vips,
                        const ClusterRows& clusters, SlotCache* cache) {
  LimitsCompiler limits(input.objects, writer, cache);
  ProxiesCompiler proxies(writer);
  Listeners listeners;
  for (const ResolvedVip& vip : vips) {
    const VipRow row = vip_row(writer, vip, clusters.at(vip.cluster->key()), input.ids, proxies);
    if (vip.is_named()) {
      write_named(writer, vip, row, *input.ids.vips.find(listener_id_key(vip)), listeners);
    } else {
      const std::uint32_t added = writer.add(row);
      if (row.ports == VipPorts::ranges) {
        for (const PortRange& ports : vip.ports) writer.add_ports(added, ports);
      }
    }
    limits.write(vip);
  }
  limits.finish();
  return write_name_patterns(writer, listeners, cache);
}

}  // namespace sluice
