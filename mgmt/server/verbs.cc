#include "mgmt/server/verbs.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "dataplane/base/json_writer.h"
#include "mgmt/model/explain.h"
#include "mgmt/model/suggest.h"
#include "mgmt/server/diff.h"
#include "mgmt/text/writer.h"

namespace sluice {
namespace {

using json = nlohmann::ordered_json;

struct Call {
  Manager& manager;
  const ControlRequest& request;
  Instant started;
  Instant now;
};

json refusal(const std::string& message) {
  return {{"ok", false}, {"error", message}};
}

json error_json(const ConfigError& error) {
  return {{"file", error.file},
          {"line", error.line},
          {"column", error.column},
          {"path", error.path},
          {"message", error.message},
          {"expected", error.expected},
          {"suggestion", error.suggestion},
          {"text", error.text()}};
}

json change_reply(const ChangeResult& result, bool has_lines) {
  if (!result.errors.empty()) {
    json reply = refusal(
        result.errors.size() == 1 ? "1 error" : fmt::format("{} errors", result.errors.size()));
    reply["errors"] = json::array();
    for (const ConfigError& error : result.errors) reply["errors"].push_back(error_json(error));
    return reply;
  }
  json reply = {{"ok", true}, {"generation", result.generation}, {"changes", json::array()}};
  for (const Change& change : result.changes) {
    json row = {{"action", change.action},
                {"kind", change.object.kind},
                {"name", change.object.name},
                {"namespace", change.object.space}};
    if (has_lines) row["lines"] = change.lines;
    reply["changes"].push_back(std::move(row));
  }
  reply["consequences"] = result.consequences;
  reply["warnings"] = result.warnings;
  return reply;
}

// A sum over rows of the dataplane; null when it does not answer.
class Sum {
 public:
  explicit Sum(bool is_known) : is_known_(is_known) {}
  void add(std::uint64_t count) { total_ += count; }
  json value() const { return is_known_ ? json(total_) : json(nullptr); }

 private:
  bool is_known_;
  std::uint64_t total_ = 0;
};

const char* health_text(const EndpointStatus& status) {
  if (!status.is_checked) return "unchecked";
  if (status.state == EndpointState::up) return "up";
  if (status.state == EndpointState::down) return "down";
  return "unknown";
}

EndpointStatus health_of(const Manager& manager, const Object& cluster, const ObjectKey& endpoint) {
  return endpoint_health(cluster, endpoint, manager.health());
}

json reply_status(const Call& call) {
  const PublishStatus publish = call.manager.publish_status();
  json objects = json::object();
  for (const std::string& kind : object_kinds())
    objects[kind] = call.manager.objects().of_kind(kind).size();
  json reply = {{"ok", true},
                {"process", "mgmt"},
                {"version", SLUICE_VERSION},
                {"pid", getpid()},
                {"uptime_ms", call.now.ms - call.started.ms},
                {"generation", call.manager.generation()},
                {"dataplane",
                 {{"connected", publish.is_connected},
                  {"acknowledged_generation", publish.acknowledged_generation},
                  {"refused_generation", publish.refused_generation},
                  {"restart_required", publish.restart_required},
                  {"error", publish.error}}},
                {"objects", objects}};
  return reply;
}

json reply_apply(const Call& call) {
  const bool is_dry_run = call.request.argument("dry_run") == "1";
  const bool is_replacing = call.request.argument("replace") == "1";
  return change_reply(
      call.manager.apply(split_payload(call.request.payload), is_replacing, is_dry_run), false);
}

json reply_diff(const Call& call) {
  const bool is_replacing = call.request.argument("replace") == "1";
  return change_reply(call.manager.apply(split_payload(call.request.payload), is_replacing, true),
                      true);
}

json reply_delete(const Call& call) {
  const std::string kind = call.request.argument("kind");
  if (descriptor_of(kind) == nullptr) {
    const std::string near = closest(kind, object_kinds());
    return refusal(fmt::format("unknown kind '{}'; expected one of {}{}", kind,
                               list_text(object_kinds()),
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }
  const ObjectKey key{kind, call.request.argument("namespace", default_namespace),
                      call.request.argument("name")};
  const ChangeResult result = call.manager.remove(key);
  json reply = change_reply(result, false);
  if (result.errors.size() == 1) reply["error"] = result.errors[0].text();
  return reply;
}

json reply_config(const Call& call) {
  json reply = {{"ok", true},
                {"generation", call.manager.generation()},
                {"yaml", to_yaml(call.manager.objects())},
                {"objects", json::array()}};
  for (const std::string& kind : object_kinds()) {
    for (const ObjectPtr& object : call.manager.objects().of_kind(kind)) {
      JsonWriter writer;
      to_json(writer, *object);
      reply["objects"].push_back(json::parse(writer.text()));
    }
  }
  return reply;
}

json field_json(const FieldHelp& field) {
  return {{"name", field.name},         {"type", field.type},
          {"help", field.help},         {"limits", field.limits},
          {"default", field.usual},     {"required", field.is_required},
          {"has_fields", field.has_fields}, {"instead_of", field.instead}};
}

json reply_explain(const Call& call) {
  const auto explanation = explain(call.request.argument("path"));
  if (!explanation) return refusal(explanation.error().message);
  json reply = field_json(explanation->field);
  reply["ok"] = true;
  reply["path"] = explanation->path;
  reply["fields"] = json::array();
  for (const FieldHelp& field : explanation->below) reply["fields"].push_back(field_json(field));
  reply["values"] = json::array();
  for (const FieldHelp& value : explanation->values) reply["values"].push_back({{"name", value.name}, {"help", value.help}});
  reply["not_in_this_version"] = explanation->later;
  return reply;
}

// Of a virtual host that is chosen by server name: by which.
void add_server_names(json& row, const api::VirtualHostSpec& spec) {
  if (spec.proxy() != api::VirtualHostSpec::TCP_PROXY_WITH_SNI) return;
  row["domains"] = spec.domains();
  row["domain_regexes"] = spec.sluice().domain_regexes();
  row["alpn"] = spec.sluice().alpn();
  row["default_loadbalancer"] = spec.has_default_loadbalancer();
}

json reply_virtual_hosts(const Call& call) {
  const Manager& manager = call.manager;
  const auto counters = manager.counters();
  const auto vips = vips_of(manager.objects());
  json rows = json::array();
  for (const ObjectPtr& virtual_host : manager.objects().of_kind("virtual_host")) {
    json row = {
        {"name", virtual_host->key().name},
        {"namespace", virtual_host->key().space},
        {"proxy", api::VirtualHostSpec::Proxy_Name(virtual_host_spec(*virtual_host).proxy())},
        {"vips", json::array()},
        {"clusters", json::array()}};
    Sum active(counters.has_value()), opened(counters.has_value()), rx(counters.has_value()),
        tx(counters.has_value()), dropped(counters.has_value()), half_open(counters.has_value());
    std::string syn_cookies;  // of several VIPs, that of one which is on
    for (const ResolvedVip& vip : vips) {
      if (vip.virtual_host->key() != virtual_host->key()) continue;
      row["vips"].push_back(vip.text());
      const auto id = manager.ids().vips.find(vip_id_key(vip));
      if (!counters || !id || !counters->vips.contains(*id)) continue;
      const VipCounters& count = counters->vips.at(*id);
      active.add(count.flows_active);
      opened.add(count.flows_opened);
      rx.add(count.rx_bytes);
      tx.add(count.tx_bytes);
      dropped.add(count.dropped);
      half_open.add(count.half_open);
      if (syn_cookies != "on") syn_cookies = count.syn_cookies;
    }
    std::size_t up = 0;  // and not drained: those that take new flows
    std::size_t drained = 0;
    std::size_t unknown = 0;
    std::size_t total = 0;
    bool is_answer_seen = true;
    if (const ObjectPtr cluster = cluster_of(manager.objects(), *virtual_host)) {
      is_answer_seen = !is_dsr(*cluster);
      row["clusters"].push_back(cluster->key().name);
      for (const ResolvedEndpoint& endpoint : endpoints_of(manager.objects(), *cluster)) {
        const EndpointStatus status = health_of(manager, *cluster, endpoint.object->key());
        ++total;
        if (manager.drains().contains(endpoint.object->key())) {
          ++drained;
          continue;
        }
        up += status.state == EndpointState::up ? 1 : 0;
        unknown += status.state == EndpointState::unknown ? 1 : 0;
      }
    }
    row["state"] = up > 0 ? "ready" : unknown > 0 ? "pending" : drained > 0 ? "drained" : "down";
    row["endpoints_up"] = up;
    row["endpoints_draining"] = drained;
    row["endpoints_total"] = total;
    row["flows_active"] = active.value();
    row["flows_opened"] = opened.value();
    row["rx_bytes"] = rx.value();
    row["tx_bytes"] = is_answer_seen ? tx.value() : json(nullptr);
    row["dropped"] = dropped.value();
    row["half_open"] = half_open.value();
    row["syn_cookies"] = syn_cookies;
    add_server_names(row, virtual_host_spec(*virtual_host));
    rows.push_back(std::move(row));
  }
  json reply = {{"ok", true}, {"virtual_hosts", std::move(rows)}};
  if (!counters) reply["dataplane_error"] = counters.error().message;
  return reply;
}

std::string algorithm_text(const api::ClusterSpec& spec) {
  const std::string name = spec.sluice().has_algorithm()
                               ? api::ClusterExtension::Algorithm_Name(spec.sluice().algorithm())
                               : api::ClusterSpec::Algorithm_Name(spec.loadbalancer_algorithm());
  if (!spec.sluice().has_source_persistence()) return name;
  const api::SourcePersistence& source = spec.sluice().source_persistence();
  return fmt::format("{} by source /{}, /{}", name, source.ipv4_prefix_length(), source.ipv6_prefix_length());
}

json reply_clusters(const Call& call) {
  const Manager& manager = call.manager;
  const auto vips = vips_of(manager.objects());
  json rows = json::array();
  for (const ObjectPtr& cluster : manager.objects().of_kind("cluster")) {
    const api::ClusterSpec& spec = cluster_spec(*cluster);
    std::size_t up = 0;
    std::size_t draining = 0;
    const auto endpoints = endpoints_of(manager.objects(), *cluster);
    for (const ResolvedEndpoint& endpoint : endpoints) {
      up += health_of(manager, *cluster, endpoint.object->key()).state == EndpointState::up ? 1 : 0;
      draining += manager.drains().contains(endpoint.object->key()) ? 1 : 0;
    }
    json row = {{"name", cluster->key().name},
                {"namespace", cluster->key().space},
                {"algorithm", algorithm_text(spec)},
                {"forwarding", api::ClusterExtension::Forwarding_Name(spec.sluice().forwarding())},
                {"endpoints_up", up},
                {"endpoints_total", endpoints.size()},
                {"endpoints_draining", draining},
                {"health_checks", json::array()},
                {"virtual_hosts", json::array()}};
    for (const api::ObjectRef& reference : spec.health_checks())
      row["health_checks"].push_back(reference.name());
    std::set<std::string> users;
    for (const ResolvedVip& vip : vips) {
      if (vip.cluster->key() == cluster->key()) users.insert(vip.virtual_host->key().name);
    }
    row["virtual_hosts"] = users;
    rows.push_back(std::move(row));
  }
  return {{"ok", true}, {"clusters", std::move(rows)}};
}

json drain_left(const Manager& manager, const ObjectKey& endpoint) {
  const auto left = manager.drain_left(endpoint);
  return left ? json(left->count) : json(nullptr);
}

json reply_endpoints(const Call& call) {
  const Manager& manager = call.manager;
  const auto counters = manager.counters();
  struct Membership {
    ObjectPtr cluster;
    ResolvedEndpoint endpoint;
  };
  std::map<ObjectKey, std::vector<Membership>> memberships;
  for (const ObjectPtr& cluster : manager.objects().of_kind("cluster")) {
    for (ResolvedEndpoint& endpoint : endpoints_of(manager.objects(), *cluster)) {
      const ObjectKey key = endpoint.object->key();
      memberships[key].push_back({cluster, std::move(endpoint)});
    }
  }
  json rows = json::array();
  for (const ObjectPtr& object : manager.objects().of_kind("endpoint")) {
    const api::EndpointSpec& spec = static_cast<const api::Endpoint&>(object->effective()).spec();
    json clusters = json::array();
    EndpointStatus worst;
    Sum active(counters.has_value()), opened(counters.has_value()), to(counters.has_value()),
        from(counters.has_value());
    bool is_answer_seen = memberships[object->key()].empty();
    for (const Membership& member : memberships[object->key()]) {
      is_answer_seen = is_answer_seen || !is_dsr(*member.cluster);
      clusters.push_back(member.cluster->key().name);
      const EndpointStatus status = health_of(manager, *member.cluster, object->key());
      const auto rank =
          [](const EndpointStatus& s) {  // down before unknown before up before unchecked
            return s.state == EndpointState::down      ? 3
                   : s.state == EndpointState::unknown ? 2
                   : s.is_checked                      ? 1
                                                       : 0;
          };
      if (rank(status) > rank(worst)) worst = status;
      const auto id =
          manager.ids().endpoints.find(endpoint_id_key(*member.cluster, member.endpoint));
      if (!counters || !id || !counters->endpoints.contains(*id)) continue;
      const EndpointCounters& count = counters->endpoints.at(*id);
      active.add(count.flows_active);
      opened.add(count.flows_opened);
      to.add(count.to_bytes);
      from.add(count.from_bytes);
    }
    rows.push_back({{"name", object->key().name},
                    {"namespace", object->key().space},
                    {"address", spec.ip()},
                    {"port", spec.port()},
                    {"protocol", api::Protocol_Name(spec.protocol())},
                    {"clusters", std::move(clusters)},
                    {"weight", spec.sluice().weight()},
                    {"priority", spec.sluice().priority()},
                    {"health", health_text(worst)},
                    {"health_reason", worst.reason},
                    {"since_ms", worst.since_unix_ms},
                    {"draining", manager.drains().contains(object->key())},
                    {"drain_left_ms", drain_left(manager, object->key())},
                    {"flows_active", active.value()},
                    {"flows_opened", opened.value()},
                    {"to_bytes", to.value()},
                    {"from_bytes", is_answer_seen ? from.value() : json(nullptr)}});
  }
  json reply = {{"ok", true}, {"endpoints", std::move(rows)}};
  if (!counters) reply["dataplane_error"] = counters.error().message;
  return reply;
}

bool takes_new_flows(const Manager& manager, const Object& cluster, const ObjectKey& endpoint) {
  return !manager.drains().contains(endpoint) &&
         health_of(manager, cluster, endpoint).state == EndpointState::up;
}

// What to know once `drained` takes no new flows: the clusters that have nobody left.
void add_empty_clusters(const Manager& manager, const ObjectKey& drained, json& warnings) {
  for (const ObjectPtr& cluster : manager.objects().of_kind("cluster")) {
    const auto endpoints = endpoints_of(manager.objects(), *cluster);
    const auto is_drained = [&](const ResolvedEndpoint& e) { return e.object->key() == drained; };
    const auto is_open = [&](const ResolvedEndpoint& e) {
      return takes_new_flows(manager, *cluster, e.object->key());
    };
    if (std::none_of(endpoints.begin(), endpoints.end(), is_drained)) continue;
    if (std::any_of(endpoints.begin(), endpoints.end(), is_open)) continue;
    std::vector<std::string> hosts;
    for (const ObjectPtr& host : manager.objects().of_kind("virtual_host")) {
      const ObjectPtr target = cluster_of(manager.objects(), *host);
      if (target != nullptr && target->key() == cluster->key()) hosts.push_back(host->key().name);
    }
    std::string text =
        fmt::format("cluster {} has no endpoint left that takes new flows", cluster->key().name);
    if (!hosts.empty()) {
      text += fmt::format(": virtual host{} {} refuse{} new connections", hosts.size() == 1 ? "" : "s",
                          list_text(hosts), hosts.size() == 1 ? "s" : "");
    }
    warnings.push_back(std::move(text));
  }
}

json reply_draining(const Call& call, bool is_draining) {
  const ObjectKey key{"endpoint", call.request.argument("namespace", default_namespace),
                      call.request.argument("name")};
  if (key.name.empty()) return refusal("name the endpoint: name=NAME");
  const auto result = call.manager.set_draining(key, is_draining);
  if (!result) return refusal(result.error().message);
  json reply = {{"ok", true},
                {"name", key.name},
                {"namespace", key.space},
                {"changed", result->is_changed},
                {"warnings", result->warnings}};
  reply["flows_active"] = result->flows_active ? json(*result->flows_active) : json(nullptr);
  if (!is_draining) return reply;
  add_empty_clusters(call.manager, key, reply["warnings"]);
  reply["drain_left_ms"] = drain_left(call.manager, key);
  return reply;
}

struct Verb {
  const char* name;
  json (*handler)(const Call&);
  bool shows_traffic;  // what it shows must be what the dataplane does
};

constexpr std::array<Verb, 11> verbs = {{
    {"status", reply_status, false},
    {"apply", reply_apply, false},
    {"diff", reply_diff, false},
    {"delete", reply_delete, false},
    {"config", reply_config, false},
    {"explain", reply_explain, false},
    {"virtual-hosts", reply_virtual_hosts, true},
    {"clusters", reply_clusters, true},
    {"endpoints", reply_endpoints, true},
    {"drain", [](const Call& call) { return reply_draining(call, true); }, false},
    {"undrain", [](const Call& call) { return reply_draining(call, false); }, false},
}};

}  // namespace

std::string answer(Manager& manager, const ControlRequest& request, Instant started, Instant now) {
  for (const Verb& verb : verbs) {
    if (request.verb != verb.name) continue;
    if (verb.shows_traffic) manager.settle();
    return verb.handler({manager, request, started, now}).dump();
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.name);
  const std::string near = closest(request.verb, names);
  return json_error(fmt::format("mgmt has no verb '{}'{}", request.verb.substr(0, 40),
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace sluice
