#include "dataplane/lcore/control_verbs.h"

#include <fmt/core.h>

#include <charconv>
#include <map>

#include "dataplane/base/json_writer.h"
#include "dataplane/flow/tcp_state.h"
#include "dataplane/lcore/clock.h"

namespace sluice {
namespace {

constexpr std::uint64_t flows_shown_max = 100'000;

// One number over all lcores.
template <class Read>
std::uint64_t sum(const Engine& engine, Read read) {
  std::uint64_t total = 0;
  for (const auto& worker : engine.workers()) total += read(*worker);
  return total;
}

std::uint64_t sum_of(const Engine& engine, Counter Counters::* counter) {
  return sum(engine, [&](const Worker& worker) { return (worker.world().counters.*counter).read(); });
}

std::uint64_t sum_of(const Engine& engine, Verdict verdict) {
  return sum(engine, [&](const Worker& worker) { return worker.world().counters.of(verdict).read(); });
}

std::string_view protocol_name(std::uint8_t number) {
  switch (number) {
    case protocol::tcp: return "tcp";
    case protocol::udp: return "udp";
    default: return "other";
  }
}

std::string_view name_of(EndpointState state) {
  switch (state) {
    case EndpointState::up: return "up";
    case EndpointState::down: return "down";
    case EndpointState::draining: return "draining";
    case EndpointState::unknown: return "unknown";
    case EndpointState::ended: return "ended";
  }
  return "unknown";
}

std::string rate_text(const RateLimitRow& rate) {
  const double per_second = 1e9 / static_cast<double>(rate.interval_ns);
  return per_second >= 1 ? fmt::format("{:.0f}/s", per_second) : fmt::format("{:.0f}/h", per_second * 3'600);
}

void add_limits(JsonWriter& json, const VipLimitsRow& limits) {
  if (limits.sources != no_row) json.value("sources");
  if (limits.flows_max != 0) json.value(fmt::format("{} flows", limits.flows_max));
  const std::pair<const RateLimitRow&, std::string_view> rates[] = {{limits.new_flows, "new"},
                                                                    {limits.source_new_flows, "new a source"},
                                                                    {limits.packets, "packets"},
                                                                    {limits.source_packets, "packets a source"}};
  for (const auto& [rate, what] : rates) {
    if (rate.interval_ns != 0) json.value(fmt::format("{} {}", rate_text(rate), what));
  }
}

Instant now() { return {monotonic_ns() / 1'000'000}; }

}  // namespace

std::uint64_t pending_clients(const Engine& engine) {
  return sum(engine, [](const Worker& worker) { return std::uint64_t{worker.world().pending.count()}; });
}

std::uint64_t flows_in_use(const Engine& engine) {
  // The sum of what the VIPs hold: the lcores count it anyway, and it may be read while they do.
  return sum(engine, [&](const Worker& worker) {
    std::uint64_t count = 0;
    for (const VipRow& vip : engine.tables().vips()) count += worker.world().counters.vips[vip.id].flows_active.read();
    return count;
  });
}

void add_addresses_of(JsonWriter& json, const Snapshot& tables, std::size_t row) {
  json.key("addresses").open_array();
  for (const AddressRow& address : tables.addresses()) {
    if (address.port != row) continue;
    const bool is_v4 = address.address.is_v4() && address.prefix_length >= 96;
    json.value(fmt::format("{}/{}", address.address.text(), is_v4 ? address.prefix_length - 96u : address.prefix_length));
  }
  json.close_array();
}

void add_port(JsonWriter& json, const Engine& engine, std::size_t slot) {
  const Port& port = engine.ports()[slot];
  const PortStats stats = engine.ports().stats(slot);
  json.field("name", port.name).field("driver", port.driver).field("device", port.device);
  json.field("profile", port.profile).field("mac", port.mac.text()).field("mtu", port.mtu);
  json.field("link", stats.is_link_up ? "up" : "down").field("queues", port.queue_count);
  json.key("offloads").open_array();
  for (const std::string& name : port.offloads) json.value(name);
  json.close_array();
  json.field("steering", name_of(port.steering)).field("steering_reason", port.steering_reason);
  json.field("steering_proof", name_of(port.proof.state()));
  json.field("first_replies", port.first_replies).field("first_replies_handed", port.first_replies_handed);
  json.field("rx_packets", stats.rx_packets).field("rx_bytes", stats.rx_bytes);
  json.field("tx_packets", stats.tx_packets).field("tx_bytes", stats.tx_bytes);
  json.field("tx_dropped", sum(engine, [&](const Worker& worker) {
    return worker.settler().sent().refused_by_slot[slot].read();
  }));
  json.field("rx_missed", stats.rx_missed).field("rx_no_mbuf", stats.rx_no_buffer);
}

// What it shares with its parent is said there.
void add_sub_interface(JsonWriter& json, const Engine& engine, const PortRow& row, std::size_t slot) {
  const Snapshot& tables = engine.tables();
  const Port& parent = engine.ports()[slot];
  json.field("name", tables.name(row.name)).field("parent", parent.name).field("vlan", row.vlan);
  json.field("driver", parent.driver).field("device", parent.device).field("profile", parent.profile);
  json.field("mac", parent.mac.text()).field("mtu", std::min(parent.mtu, row.mtu));
  json.field("link", engine.ports().stats(slot).is_link_up ? "up" : "down");
}

std::string ports_reply(const Engine& engine) {
  JsonWriter json;
  json.open_object().field("ok", true).key("ports").open_array();
  const Snapshot& tables = engine.tables();
  const auto slots = engine.ports().slot_of_row(tables);
  std::array<bool, ports_max> is_configured{};
  for (std::size_t row = 0; row < tables.ports().size(); ++row) {
    if (!slots[row]) continue;  // appears with the next start
    json.open_object();
    if (tables.ports()[row].is_sub_interface()) {
      add_sub_interface(json, engine, tables.ports()[row], *slots[row]);
    } else {
      add_port(json, engine, *slots[row]);
      is_configured[*slots[row]] = true;
    }
    add_addresses_of(json, tables, row);
    json.close_object();
  }
  for (std::size_t slot = 0; slot < engine.ports().count(); ++slot) {
    if (is_configured[slot]) continue;  // else: is closed with the next start
    json.open_object();
    add_port(json, engine, slot);
    json.key("addresses").open_array().close_array().close_object();
  }
  json.close_array().close_object();
  return json.text();
}

// Losses of what was never received, beside the drops.
void add_own_loss(JsonWriter& json, const Engine& engine, std::string_view name, Counter Counters::* counter, std::string_view help) {
  json.open_object().field("name", name).field("packets", sum_of(engine, counter)).field("help", help).key("lcores").open_array();
  for (const auto& worker : engine.workers()) json.value((worker->world().counters.*counter).read());
  json.close_array().close_object();
}

std::string drops_reply(const Engine& engine) {
  JsonWriter json;
  json.open_object().field("ok", true).key("drops").open_array();
  for (std::size_t i = 0; i < verdict_count; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    if (!is_drop(verdict) && !is_reject(verdict)) continue;
    // Most of the blocklist's work is done before a packet comes to an lcore.
    const std::uint64_t before_lcores = verdict == Verdict::drop_blocklisted ? engine.ports().blocked_packets() : 0;
    json.open_object().field("name", counter_name_of(verdict)).field("packets", before_lcores + sum_of(engine, verdict));
    json.field("help", help_of(verdict)).key("lcores").open_array();
    for (const auto& worker : engine.workers()) json.value(worker->world().counters.of(verdict).read());
    json.close_array().close_object();
  }
  add_own_loss(json, engine, "own.no_buffer", &Counters::own_no_buffer, "frames of our own for which no packet buffer was free; asked or sent again later");
  add_own_loss(json, engine, "own.refused", &Counters::own_refused, "frames of our own that a transmit queue or another lcore's ring did not take; asked or sent again later");
  json.close_array().close_object();
  return json.text();
}

std::string ledger_reply(const Engine& engine) {
  JsonWriter json;
  json.open_object().field("ok", true);
  const std::uint64_t released = sum_of(engine, &Counters::released);
  json.field("received", sum_of(engine, &Counters::received));
  json.field("generated", sum_of(engine, &Counters::generated));
  json.field("handed_in", sum_of(engine, &Counters::handed_in));
  json.field("copied", sum_of(engine, &Counters::copied));
  json.field("released", released);
  json.key("verdicts").open_object();
  for (std::size_t i = 0; i < verdict_count; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    json.field(sluice::name_of(verdict), sum_of(engine, verdict));
  }
  json.close_object();
  json.field("held", sum_of(engine, Verdict::hold) - released);
  json.field("in_handoff", sum(engine, [](const Worker& worker) { return std::uint64_t{worker.settler().in_rings()}; }));
  const std::uint64_t to_kernel =
      sum(engine, [](const Worker& worker) { return worker.settler().sent().to_kernel.read(); });
  const std::uint64_t by_ports = sum(engine, [](const Worker& worker) {
    std::uint64_t count = 0;
    for (const Counter& counter : worker.settler().sent().by_slot) count += counter.read();
    return count;
  });
  json.field("sent", by_ports + to_kernel).field("sent_to_kernel", to_kernel);
  json.close_object();
  return json.text();
}

std::string splices_reply(const Engine& engine) {
  JsonWriter json;
  json.open_object().field("ok", true).key("splices").open_array();
  const auto line = [&](std::string_view name, std::uint64_t count, std::string_view help) {
    json.open_object().field("name", name).field("count", count).field("help", help).close_object();
  };
  line("capacity", sum(engine, [](const Worker& worker) { return std::uint64_t{worker.world().splices.capacity()}; }),
       "flows that may be spliced at once");
  line("in_use", sum(engine, [](const Worker& worker) { return std::uint64_t{worker.world().splices.count()}; }),
       "flows that are spliced now, those on their way included");
  line("pending", pending_clients(engine),
       "clients that are through the handshake and not yet joined with an endpoint");
  line("held_bytes", sum(engine, [](const Worker& worker) { return worker.world().pending.held_memory_bytes(); }),
       "memory that holds their first bytes");
#define SLUICE_SPLICE_LINE(event, sentence) \
  line(#event, sum(engine, [](const Worker& worker) { return worker.world().counters.splice.event.read(); }), sentence);
  SLUICE_SPLICE_EVENTS(SLUICE_SPLICE_LINE)
#undef SLUICE_SPLICE_LINE
  json.close_array().close_object();
  return json.text();
}

// "on" and "off": by threshold, as it is now; on as soon as one worker has switched it on.
std::string_view syn_cookies_name(const Engine& engine, const VipRow& vip) {
  const bool is_splice = vip.forwarding == Forwarding::splice;
  if (is_splice || vip.syn_cookies == SynCookies::always) return "always";
  if (vip.syn_cookies == SynCookies::never) return "never";
  return sum(engine, [&](const Worker& worker) { return worker.world().counters.cookies[vip.id].is_on.read(); }) > 0 ? "on" : "off";
}

std::string vips_reply(const Engine& engine) {
  const Snapshot& tables = engine.tables();
  JsonWriter json;
  json.open_object().field("ok", true).key("vips").open_array();
  for (const VipRow& vip : tables.vips()) {
    const auto total = [&](Counter VipCounters::* counter) {
      return sum(engine, [&](const Worker& worker) { return (worker.world().counters.vips[vip.id].*counter).read(); });
    };
    json.open_object().field("id", vip.id).field("name", tables.name(vip.name));
    json.field("virtual_host", tables.name(vip.virtual_host));
    const IpPrefix where{vip.address, vip.prefix_length};
    json.field("address", where.length == 128 ? where.network.text() : where.text());
    if (vip.ports == VipPorts::one) json.field("port", vip.port.host());
    json.field("ports", ports_text(tables.ports_of(vip)));
    json.field("protocol", protocol_name(vip.protocol));
    // Each server name leads to a cluster of its own.
    const bool is_by_name = vip.is_peeking != 0;
    json.field("cluster", is_by_name ? std::string_view() : tables.name(tables.clusters()[vip.cluster].name));
    json.field("by_server_name", is_by_name).field("state", vip.state == VipState::ready ? "ready" : "pending");
    json.key("limits").open_array();
    if (vip.proxies != 0) json.value("proxies only");
    if (const VipLimitsRow* limits = tables.limits_of(vip)) add_limits(json, *limits);
    json.close_array();
    json.field("syn_cookies", syn_cookies_name(engine, vip)).field("half_open", total(&VipCounters::half_open));
    json.field("flows_opened", total(&VipCounters::flows_opened));
    json.field("flows_active", total(&VipCounters::flows_active));
    if (vip.quic != 0) {
      json.field("flows_by_connection_id", sum(engine, [&](const Worker& worker) {
        return worker.world().counters.flows_by_connection_id[vip.id].read();
      }));
    }
    json.field("rx_packets", total(&VipCounters::rx_packets)).field("rx_bytes", total(&VipCounters::rx_bytes));
    json.field("tx_packets", total(&VipCounters::tx_packets)).field("tx_bytes", total(&VipCounters::tx_bytes));
    json.field("dropped", total(&VipCounters::dropped)).close_object();
  }
  json.close_array().close_object();
  return json.text();
}

std::string endpoints_reply(const Engine& engine) {
  const Snapshot& tables = engine.tables();
  JsonWriter json;
  json.open_object().field("ok", true).key("endpoints").open_array();
  for (const EndpointRow& endpoint : tables.endpoints()) {
    const auto total = [&](Counter EndpointCounters::* counter) {
      return sum(engine,
                 [&](const Worker& worker) { return (worker.world().counters.endpoints[endpoint.id].*counter).read(); });
    };
    json.open_object().field("id", endpoint.id).field("name", tables.name(endpoint.name));
    json.field("cluster", tables.name(tables.clusters()[endpoint.cluster].name));
    json.field("address", endpoint.address.text()).field("port", endpoint.port.host());
    json.field("protocol", protocol_name(endpoint.protocol));
    json.field("state", name_of(endpoint.state)).field("weight", endpoint.weight);
    json.field("flows_opened", total(&EndpointCounters::flows_opened));
    json.field("flows_active", total(&EndpointCounters::flows_active));
    json.field("to_packets", total(&EndpointCounters::to_packets)).field("to_bytes", total(&EndpointCounters::to_bytes));
    json.field("from_packets", total(&EndpointCounters::from_packets));
    json.field("from_bytes", total(&EndpointCounters::from_bytes)).close_object();
  }
  json.close_array().close_object();
  return json.text();
}

Result<FlowFilter> FlowFilter::parse(const ControlRequest& request, const Snapshot& tables) {
  FlowFilter filter;
  auto more = PacketFilter::parse(request.payload, tables);
  if (!more) return fail("flows: " + more.error().message);
  if (const auto word = more->asked_of_packets_only(); !word.empty()) {
    return fail(fmt::format("flows: filter: '{}' is of packets, a flow has none; trace add and capture start take it", word));
  }
  filter.more = std::move(*more);
  if (const std::string text = request.argument("client"); !text.empty()) {
    filter.client = IpAddress::parse(text);
    if (!filter.client) return fail(fmt::format("flows: client={}: is no IP address", text));
  }
  filter.vip = request.argument("vip");
  filter.endpoint = request.argument("endpoint");
  // A misspelt name would match nothing, silently.
  for (const auto& [word, name] : {std::pair("vip", &filter.vip), std::pair("endpoint", &filter.endpoint)}) {
    if (name->empty()) continue;
    if (auto known = PacketFilter::parse(fmt::format("{} {}", word, *name), tables); !known) {
      return fail("flows: " + known.error().message);
    }
  }
  const std::string protocol_text = request.argument("protocol");
  if (protocol_text == "tcp") filter.protocol = protocol::tcp;
  else if (protocol_text == "udp") filter.protocol = protocol::udp;
  else if (!protocol_text.empty()) return fail(fmt::format("flows: protocol={}: tcp or udp is expected", protocol_text));
  if (const std::string text = request.argument("limit"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), filter.limit);
    if (error != std::errc() || end != text.data() + text.size() || filter.limit > flows_shown_max) {
      return fail(fmt::format("flows: limit={}: a number from 0 to {} is expected", text, flows_shown_max));
    }
  }
  return filter;
}

bool FlowFilter::matches(const Snapshot& tables, const FlowRecord& record, const std::optional<NamedClient>& named) const {
  if (protocol != 0 && record.protocol != protocol) return false;
  const bool is_named = client && named && named->address == *client;
  if (client && !is_named && arriving_key(record, Direction::to_endpoint).source != *client) return false;
  if (!vip.empty()) {
    const VipRow* row = tables.vip_by_id(record.vip_id);
    if (row == nullptr || (tables.name(row->name) != vip && tables.name(row->virtual_host) != vip)) return false;
  }
  if (!endpoint.empty()) {
    const EndpointRow* row = tables.endpoint_by_id(record.endpoint_id);
    if (row == nullptr || tables.name(row->name) != endpoint) return false;
  }
  if (more.text().empty()) return true;
  const FlowKey client_key = arriving_key(record, Direction::to_endpoint);
  const FlowKey endpoint_key = leaving_key(record, Direction::to_endpoint);
  FlowKey named_key;
  PacketFacts facts;
  if (named) {
    named_key = key_of(*named, record);
    facts.named = &named_key;
  }
  facts.before = &client_key;
  facts.after = &endpoint_key;
  facts.kind = record.protocol == protocol::tcp ? FrameKind::tcp : FrameKind::udp;
  facts.state = record.state;
  if (const VipRow* row = tables.vip_by_id(record.vip_id)) {
    facts.vip = tables.name(row->name);
    facts.virtual_host = tables.name(row->virtual_host);
  }
  if (const EndpointRow* row = tables.endpoint_by_id(record.endpoint_id)) facts.endpoint = tables.name(row->name);
  return more.matches(facts);
}

std::string flows_reply(const Engine& engine, const ControlRequest& request) {
  const auto filter = FlowFilter::parse(request, engine.tables());
  if (!filter) return json_error(filter.error().message);
  const Snapshot& tables = engine.tables();
  const Instant moment = now();
  std::uint64_t total = 0, shown = 0;
  JsonWriter json;
  json.open_object().field("ok", true).key("flows").open_array();
  for (const auto& worker : engine.workers()) {
    for (const FlowRecord& live : worker->world().flows.records()) {
      const auto record = copy_of(live);
      if (!record) continue;
      const auto named = engine.named_client_of(worker->world().lcore, *record);
      if (!filter->matches(tables, *record, named)) continue;
      ++total;
      if (shown >= filter->limit) continue;
      ++shown;
      const FlowKey client = arriving_key(*record, Direction::to_endpoint);
      const FlowKey reply = arriving_key(*record, Direction::to_client);
      const std::uint32_t idle_ms = ms_since(record->last_seen, moment);
      const std::uint32_t timeout_ms = timeout_ms_of(*record, tables.node());
      const VipRow* vip = tables.vip_by_id(record->vip_id);
      const EndpointRow* endpoint = tables.endpoint_by_id(record->endpoint_id);
      json.open_object().field("protocol", protocol_name(record->protocol));
      json.field("client", address_port_text(client.source, client.source_port));
      if (named) json.field("named_client", address_port_text(named->address, named->port));
      json.field("vip", address_port_text(client.destination, client.destination_port));
      if (is_one_sided(*record)) {
        json.field("dsr", sluice::name_of(record->dsr));
      } else {
        json.field("snat", address_port_text(reply.destination, reply.destination_port));
      }
      json.field("endpoint", address_port_text(reply.source, reply.source_port));
      json.field("state", sluice::name_of(record->state)).field("idle_ms", idle_ms);
      json.field("expires_ms", idle_ms < timeout_ms ? timeout_ms - idle_ms : 0);
      json.field("lcore", worker->world().lcore);
      json.field("vip_name", vip != nullptr ? tables.name(vip->name) : std::string_view("(removed)"));
      json.field("virtual_host", vip != nullptr ? tables.name(vip->virtual_host) : std::string_view("(removed)"));
      json.field("endpoint_name", endpoint != nullptr ? tables.name(endpoint->name) : std::string_view("(removed)"));
      json.close_object();
    }
  }
  json.close_array().field("total", total).field("shown", shown).close_object();
  return json.text();
}

std::string neighbors_reply(const Engine& engine) {
  // Every lcore learns by itself: of one neighbour, what was confirmed last counts, and what waits anywhere.
  std::map<std::pair<IpAddress, std::uint16_t>, Neighbor> known;
  const Instant moment = now();
  for (const auto& worker : engine.workers()) {
    std::vector<Neighbor> copy;
    if (!worker->copy_neighbors(copy, {500})) {
      return json_error(fmt::format("neighbors: worker lcore {} does not answer; is its CPU held by another task?",
                                    worker->world().lcore));
    }
    for (const Neighbor& neighbor : copy) {
      const auto [found, is_new] = known.try_emplace({neighbor.address, neighbor.port}, neighbor);
      if (is_new) continue;
      Neighbor& best = found->second;
      const auto held = static_cast<std::uint16_t>(best.held_count + neighbor.held_count);
      const bool is_resolved = neighbor.state != NeighborState::incomplete;
      const bool is_better = best.state == NeighborState::incomplete
                                 ? is_resolved
                                 : is_resolved && ms_since(neighbor.confirmed_stamp, moment) <
                                                      ms_since(best.confirmed_stamp, moment);
      if (is_better) best = neighbor;
      best.held_count = held;
    }
  }
  const Snapshot& tables = engine.tables();
  JsonWriter json;
  json.open_object().field("ok", true).key("neighbors").open_array();
  for (const auto& [place, neighbor] : known) {
    const bool is_resolved = neighbor.state != NeighborState::incomplete;
    json.open_object().field("address", neighbor.address.text());
    json.field("mac", is_resolved ? neighbor.mac.text() : std::string());
    json.field("port", neighbor.port == exception_port         ? std::string_view("kernel")
                       : neighbor.port < tables.ports().size() ? tables.name(tables.ports()[neighbor.port].name)
                                                               : std::string_view("(removed)"));
    json.field("state", sluice::name_of(neighbor.state));
    json.field("age_ms", is_resolved ? ms_since(neighbor.confirmed_stamp, moment) : 0);
    json.field("held", neighbor.held_count).close_object();
  }
  json.close_array().close_object();
  return json.text();
}

}  // namespace sluice
