#include "mgmt/shell/show.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>

#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"
#include "mgmt/shell/quantity.h"
#include "mgmt/shell/suggest.h"

namespace sluice {
namespace {

constexpr std::string_view not_known = "-";
constexpr Milliseconds greeting_timeout = {1'000};

// A column and how its cell is read from a row of the reply.
struct FieldRow {
  Column column;
  std::string (*cell)(const Json& row);
};

std::string count_cell(const Json& row, std::string_view name) {
  const auto number = number_of(row, name);
  return number ? format_count(*number) : std::string(not_known);
}

std::string bytes_cell(const Json& row, std::string_view name) {
  const auto number = number_of(row, name);
  return number ? format_bytes(*number) : std::string(not_known);
}

std::string duration_cell(const Json& row, std::string_view name) {
  const auto number = number_of(row, name);
  return number ? format_duration(*number) : std::string(not_known);
}

// How long ago a moment was; the moment is Unix time, 0 when it never came.
std::string age_cell(const Json& row, std::string_view name) {
  const auto moment_ms = number_of(row, name).value_or(0);
  if (moment_ms == 0) return std::string(not_known);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::uint64_t now_ms = static_cast<std::uint64_t>(now.tv_sec) * 1000 +
                               static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
  return format_duration(now_ms > moment_ms ? now_ms - moment_ms : 0);
}

// For numbers that are names or settings (ports, weights): all digits.
std::string exact_cell(const Json& row, std::string_view name) {
  const Json* field = find(row, name);
  return field == nullptr ? std::string(not_known) : text_of(row, name);
}

std::string known(std::string text) {
  return text.empty() ? std::string(not_known) : text;
}

std::string joined_cell(const Json& row, std::string_view name) {
  return fmt::format("{}", fmt::join(texts_of(row, name), ", "));
}

// "2/3": how many of how many.
std::string share_cell(const Json& row, std::string_view part, std::string_view whole) {
  return fmt::format("{}/{}", exact_cell(row, part), exact_cell(row, whole));
}

// The name as the operator would type it: the namespace only when it is not the default one.
std::string name_cell(const Json& row) {
  const std::string space = text_of(row, "namespace");
  const std::string name = text_of(row, "name");
  return space.empty() || space == "default" ? name : space + "/" + name;
}

std::string address_and_port(const Json& row) {
  const std::string address = text_of(row, "address", not_known);
  const std::string port = text_of(row, find(row, "ports") != nullptr ? "ports" : "port");
  if (port.empty()) return address;
  return address.find(':') != std::string::npos ? fmt::format("[{}]:{}", address, port)
                                                : fmt::format("{}:{}", address, port);
}

std::string render(const Context& context, const Json& rows, const std::vector<FieldRow>& fields) {
  std::vector<Column> columns;
  for (const FieldRow& field : fields) columns.push_back(field.column);
  Table table(std::move(columns));
  for (const Json& row : rows) {
    std::vector<std::string> cells;
    for (const FieldRow& field : fields) cells.push_back(field.cell(row));
    table.add(std::move(cells));
  }
  return table.text(context.console.style());
}

// Counters of mgmt's replies come from the dataplane; when it does not answer they are missing.
void note_missing_counters(const Context& context, const Json& reply) {
  const std::string reason = text_of(reply, "dataplane_error");
  if (!reason.empty()) {
    context.console.err(fmt::format("note: the counters are not known: {}\n", printable(reason)));
  }
}

// Keeps the rows called `name` (or NAMESPACE/name); false when there is none, which is reported.
bool keep_named(const Context& context, Json& reply, std::string_view list, std::string_view what,
                const std::string& name) {
  if (name.empty()) return true;
  std::vector<std::string> names;
  Json kept = Json::array();
  for (const Json& row : list_of(reply, list)) {
    names.push_back(name_cell(row));
    if (text_of(row, "name") == name || name_cell(row) == name) kept.push_back(row);
  }
  if (kept.empty()) {
    report(context, exit_refused, fmt::format("no {} is named '{}'", what, name),
           closest_name(name, names));
    return false;
  }
  reply[std::string(list)] = std::move(kept);
  return true;
}

// What the simple commands have in common: a question, a list in the reply, its columns.
struct ListQuestion {
  Process process;
  std::string_view verb;
  std::string_view list;   // the array in the reply
  std::string_view what;   // one row of it, for sentences
  std::string_view empty;  // said when there is no row
};

int show_list(Context& context, const Invocation& invocation, const ListQuestion& question,
              const std::vector<FieldRow>& fields) {
  ControlRequest request;
  request.verb = question.verb;
  auto reply = context.peers.ask(question.process, request);
  if (!reply) return report(context, reply.error());
  if (!keep_named(context, *reply, question.list, question.what, invocation.argument(0))) {
    return exit_refused;
  }
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const Json& rows = list_of(*reply, question.list);
  if (rows.empty()) {
    context.console.out(std::string(question.empty) + "\n");
    return exit_ok;
  }
  context.console.out(render(context, rows, fields));
  note_missing_counters(context, *reply);
  return exit_ok;
}

std::string health_cell(const Json& row) {
  std::string health = text_of(row, "health", "unknown");
  if (!flag_of(row, "draining")) return health;
  const auto left_ms = number_of(row, "drain_left_ms");
  if (!left_ms) return health + ", draining";
  return health + (*left_ms == 0 ? ", drained" : ", draining for " + format_duration(*left_ms));
}

// "10, 12": the packets of each lcore, only when there is more than one to compare.
std::string lcores_cell(const Json& row) {
  const Json& lcores = list_of(row, "lcores");
  if (lcores.size() < 2) return {};
  std::vector<std::string> counts;
  for (const Json& count : lcores) {
    counts.push_back(count.is_number_unsigned() ? format_count(count.get<std::uint64_t>())
                                                : std::string(not_known));
  }
  return fmt::format("{}", fmt::join(counts, ", "));
}

std::uint64_t lost_packets(const Json& port) {
  return number_of(port, "rx_missed").value_or(0) + number_of(port, "rx_no_mbuf").value_or(0) +
         number_of(port, "tx_dropped").value_or(0);
}

// What does not fit a table: one paragraph a port.
std::string port_details(const Json& port) {
  std::string text = fmt::format("\n{}\n", printable(text_of(port, "name")));
  const auto line = [&](std::string_view title, const std::string& content) {
    if (!content.empty()) text += fmt::format("  {:<9}  {}\n", title, printable(content));
  };
  line("device", text_of(port, "device"));
  line("mac", text_of(port, "mac"));
  line("addresses", joined_cell(port, "addresses"));
  if (port.contains("vlan")) {  // it shares all else with its parent
    line("vlan", fmt::format("{} on {}", count_cell(port, "vlan"), text_of(port, "parent")));
    return text;
  }
  const std::string reason = text_of(port, "steering_reason");
  line("steering", text_of(port, "steering", "not known") + (reason.empty() ? "" : ": " + reason));
  const auto arrived = number_of(port, "first_replies").value_or(0);
  const auto handed = number_of(port, "first_replies_handed").value_or(0);
  if (arrived + handed > 0 && text_of(port, "steering") != "NONE") {
    line("replies", fmt::format("{} first replies came to the worker of their flow, {} to another", format_count(arrived),
                                format_count(handed)));
  }
  const std::string offloads = joined_cell(port, "offloads");
  line("offloads", offloads.empty() ? "none" : offloads);
  if (lost_packets(port) > 0) {
    line("lost", fmt::format("{} missed by the queue, {} without a buffer, {} not sent",
                             count_cell(port, "rx_missed"), count_cell(port, "rx_no_mbuf"),
                             count_cell(port, "tx_dropped")));
  }
  return text;
}

// A process as show version sees it: its status reply, or why there is none.
struct ProcessStatus {
  Process process;
  tl::expected<Json, AskError> reply;
};

std::string mgmt_state(const Json& status) {
  const Json* dataplane = find(status, "dataplane");
  if (dataplane == nullptr) return "up";
  return flag_of(*dataplane, "connected") ? "up, publishing" : "up, no dataplane";
}

void add_version_row(Table& table, const ProcessStatus& status) {
  const std::string name(name_of(status.process));
  if (!status.reply) {
    table.add({name, std::string(not_known), "DOWN: " + status.reply.error().reason,
               std::string(not_known), std::string(not_known), std::string(not_known)});
    return;
  }
  const Json& reply = *status.reply;
  const std::string state =
      status.process == Process::mgmt ? mgmt_state(reply) : text_of(reply, "state", "up");
  table.add({name, text_of(reply, "version", not_known), state, exact_cell(reply, "generation"),
             duration_cell(reply, "uptime_ms"), exact_cell(reply, "pid")});
}

std::string dataplane_notes(const Json& status) {
  std::string text;
  if (const auto capacity = number_of(status, "flows_capacity")) {
    text += fmt::format("Flows: {} of {}", exact_cell(status, "flows_in_use"), *capacity);
    const auto adopted = number_of(status, "flows_adopted").value_or(0);
    if (adopted > 0) text += fmt::format(", {} adopted at start", format_count(adopted));
    const auto workers = number_of(status, "workers").value_or(0);
    if (workers > 0) text += fmt::format("; {} worker{}", workers, workers == 1 ? "" : "s");
    text += "\n";
  }
  if (const Json* leaving = find(status, "leaving")) {
    const auto flows = number_of(*leaving, "flows").value_or(0);
    text += fmt::format("Draining: it takes no new flows and ends when its {} flow{} {} over, in {} at most. Call it off with: undrain dataplane\n",
                        format_count(flows), flows == 1 ? "" : "s", flows == 1 ? "is" : "are",
                        format_duration(number_of(*leaving, "ends_in_ms").value_or(0)));
  }
  if (const Json* alarms = find(status, "alarms")) {
    for (const Json& alarm : *alarms) {
      text += fmt::format(
          "ALARM {} for {}: {} packets lost; {}\n", printable(text_of(alarm, "name")),
          format_duration(number_of(alarm, "since_ms").value_or(0)),
          format_count(number_of(alarm, "packets").value_or(0)), printable(text_of(alarm, "help")));
    }
  }
  for (const std::string& reason : texts_of(status, "restart_required")) {
    text += fmt::format("Takes effect when the dataplane restarts: {}\n", printable(reason));
  }
  if (const Json* refused = find(status, "snapshot_refused")) {
    const auto count = number_of(*refused, "count").value_or(0);
    if (count > 0) {
      text += fmt::format("The dataplane refused {} snapshot{}; the last one: {}\n", count,
                          count == 1 ? "" : "s", printable(text_of(*refused, "last_reason")));
    }
  }
  return text;
}

std::string mgmt_notes(const Json& status) {
  const Json* dataplane = find(status, "dataplane");
  if (dataplane == nullptr) return {};
  std::string text;
  const auto generation = number_of(status, "generation");
  const auto acknowledged = number_of(*dataplane, "acknowledged_generation");
  if (generation && acknowledged && *generation != *acknowledged) {
    text +=
        fmt::format("The dataplane runs generation {}, mgmt has {}.\n", *acknowledged, *generation);
  }
  const std::string error = text_of(*dataplane, "error");
  if (!error.empty()) text += fmt::format("Publishing fails: {}\n", printable(error));
  return text;
}

// SYN cookies, where there are any.
std::string cookies_cell(const Json& row) {
  const std::string state = text_of(row, "syn_cookies");
  return state == "never" ? std::string() : state;
}

// "www.example.com, *.example.com, /api[0-9]+/, all others"; with `alpn` only clients that offer it.
std::string server_names_cell(const Json& row) {
  std::vector<std::string> names = texts_of(row, "domains");
  for (const std::string& expression : texts_of(row, "domain_regexes")) names.push_back("/" + expression + "/");
  if (flag_of(row, "default_loadbalancer")) names.push_back("all others");
  const std::string protocols = joined_cell(row, "alpn");
  return fmt::format("{}{}", fmt::join(names, ", "), protocols.empty() ? "" : "; only for ALPN " + protocols);
}

// What comes before a server name is known is counted apart, under the name of the VIP alone.
std::string virtual_host_cell(const Json& row) {
  return flag_of(row, "by_server_name") ? "(no name yet)" : text_of(row, "virtual_host");
}

std::string half_open_cell(const Json& row) { return cookies_cell(row).empty() ? std::string() : count_cell(row, "half_open"); }

}  // namespace

int show_virtual_hosts(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"NAME"}, name_cell},
      {{"PROXY", Align::left, 2}, [](const Json& r) { return text_of(r, "proxy"); }},
      {{"VIPS"}, [](const Json& r) { return joined_cell(r, "vips"); }},
      {{"CLUSTERS", Align::left, 1}, [](const Json& r) { return joined_cell(r, "clusters"); }},
      {{"STATE"}, [](const Json& r) { return text_of(r, "state", not_known); }},
      {{"UP", Align::right},
       [](const Json& r) { return share_cell(r, "endpoints_up", "endpoints_total"); }},
      {{"COOKIES", Align::left, 2, true}, cookies_cell},
      {{"HALF OPEN", Align::right, 2, true}, half_open_cell},
      {{"FLOWS", Align::right}, [](const Json& r) { return count_cell(r, "flows_active"); }},
      {{"OPENED", Align::right, 3}, [](const Json& r) { return count_cell(r, "flows_opened"); }},
      {{"RECEIVED", Align::right, 4}, [](const Json& r) { return bytes_cell(r, "rx_bytes"); }},
      {{"SENT", Align::right, 4}, [](const Json& r) { return bytes_cell(r, "tx_bytes"); }},
      {{"DROPPED", Align::right, 3}, [](const Json& r) { return count_cell(r, "dropped"); }},
      {{"SERVER NAMES", Align::left, 0, true, true}, server_names_cell},
  };
  return show_list(context, invocation,
                   {Process::mgmt, "virtual-hosts", "virtual_hosts", "virtual host",
                    "There is no virtual host. Load a configuration with: apply -f FILE"},
                   fields);
}

int show_vips(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"NAME"}, [](const Json& r) { return text_of(r, "name"); }},
      {{"ADDRESS"}, address_and_port},
      {{"PROTO"}, [](const Json& r) { return text_of(r, "protocol"); }},
      {{"VIRTUAL HOST"}, virtual_host_cell},
      {{"CLUSTER", Align::left, 1}, [](const Json& r) { return known(text_of(r, "cluster")); }},
      {{"STATE"}, [](const Json& r) { return text_of(r, "state"); }},
      {{"LIMITS", Align::left, 1, true}, [](const Json& r) { return joined_cell(r, "limits"); }},
      {{"COOKIES", Align::left, 2, true}, cookies_cell},
      {{"HALF OPEN", Align::right, 2, true}, half_open_cell},
      {{"FLOWS", Align::right}, [](const Json& r) { return count_cell(r, "flows_active"); }},
      {{"OPENED", Align::right, 2}, [](const Json& r) { return count_cell(r, "flows_opened"); }},
      {{"BY CID", Align::right, 2, true},
       [](const Json& r) {
         const auto count = number_of(r, "flows_by_connection_id");
         return count ? format_count(*count) : std::string();
       }},
      {{"RX PACKETS", Align::right, 3}, [](const Json& r) { return count_cell(r, "rx_packets"); }},
      {{"RX BYTES", Align::right, 4}, [](const Json& r) { return bytes_cell(r, "rx_bytes"); }},
      {{"TX PACKETS", Align::right, 3}, [](const Json& r) { return count_cell(r, "tx_packets"); }},
      {{"TX BYTES", Align::right, 4}, [](const Json& r) { return bytes_cell(r, "tx_bytes"); }},
      {{"DROPPED", Align::right}, [](const Json& r) { return count_cell(r, "dropped"); }},
  };
  return show_list(context, invocation,
                   {Process::dataplane, "vips", "vips", "VIP",
                    "The dataplane has no VIP. Load a configuration with: apply -f FILE"},
                   fields);
}

int show_clusters(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"NAME"}, name_cell},
      {{"ALGORITHM", Align::left, 1}, [](const Json& r) { return text_of(r, "algorithm"); }},
      {{"FORWARDING", Align::left, 1}, [](const Json& r) { return text_of(r, "forwarding"); }},
      {{"UP", Align::right},
       [](const Json& r) { return share_cell(r, "endpoints_up", "endpoints_total"); }},
      {{"DRAINING", Align::right},
       [](const Json& r) { return exact_cell(r, "endpoints_draining"); }},
      {{"HEALTH CHECKS", Align::left, 2},
       [](const Json& r) { return joined_cell(r, "health_checks"); }},
      {{"VIRTUAL HOSTS", Align::left, 3},
       [](const Json& r) { return joined_cell(r, "virtual_hosts"); }},
  };
  return show_list(context, invocation,
                   {Process::mgmt, "clusters", "clusters", "cluster",
                    "There is no cluster. Load a configuration with: apply -f FILE"},
                   fields);
}

int show_endpoints(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"NAME"}, name_cell},
      {{"ADDRESS"}, address_and_port},
      {{"PROTO", Align::left, 3}, [](const Json& r) { return text_of(r, "protocol"); }},
      {{"CLUSTERS", Align::left, 2}, [](const Json& r) { return joined_cell(r, "clusters"); }},
      {{"WEIGHT", Align::right, 2}, [](const Json& r) { return exact_cell(r, "weight"); }},
      {{"PRIORITY", Align::right, 2, true},
       [](const Json& r) {
         return number_of(r, "priority").value_or(0) > 0 ? exact_cell(r, "priority")
                                                         : std::string();
       }},
      {{"HEALTH"}, health_cell},
      {{"SINCE", Align::right, 1}, [](const Json& r) { return age_cell(r, "since_ms"); }},
      {{"FLOWS", Align::right}, [](const Json& r) { return count_cell(r, "flows_active"); }},
      {{"OPENED", Align::right, 4}, [](const Json& r) { return count_cell(r, "flows_opened"); }},
      {{"SENT TO", Align::right, 5}, [](const Json& r) { return bytes_cell(r, "to_bytes"); }},
      {{"FROM", Align::right, 5}, [](const Json& r) { return bytes_cell(r, "from_bytes"); }},
      {{"REASON", Align::left, 0, true, true},
       [](const Json& r) { return text_of(r, "health_reason"); }},
  };
  return show_list(context, invocation,
                   {Process::mgmt, "endpoints", "endpoints", "endpoint",
                    "There is no endpoint. Load a configuration with: apply -f FILE"},
                   fields);
}

int show_config(Context& context, const Invocation&) {
  ControlRequest request;
  request.verb = "config";
  auto reply = context.peers.ask(Process::mgmt, request);
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  std::string yaml = text_of(*reply, "yaml");
  if (yaml.find_first_not_of(" \n\t") == std::string::npos) {
    // A comment, so that what is printed stays YAML.
    context.console.out("# The configuration is empty. Load one with: apply -f FILE\n");
    return exit_ok;
  }
  if (!yaml.ends_with('\n')) yaml += '\n';
  context.console.out(yaml);
  return exit_ok;
}

int show_flows(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"PROTO"}, [](const Json& r) { return text_of(r, "protocol"); }},
      {{"CLIENT"}, [](const Json& r) { return text_of(r, "client"); }},
      {{"FOR CLIENT", Align::left, 0, true}, [](const Json& r) { return text_of(r, "named_client"); }},
      {{"VIP"}, [](const Json& r) { return text_of(r, "vip"); }},
      {{"SNAT", Align::left, 2}, [](const Json& r) { return text_of(r, "snat", not_known); }},
      {{"DSR", Align::left, 1, true}, [](const Json& r) { return text_of(r, "dsr"); }},
      {{"ENDPOINT"}, [](const Json& r) { return text_of(r, "endpoint"); }},
      {{"NAME", Align::left, 3, true}, [](const Json& r) { return text_of(r, "endpoint_name"); }},
      {{"STATE"}, [](const Json& r) { return text_of(r, "state"); }},
      {{"IDLE", Align::right, 1}, [](const Json& r) { return duration_cell(r, "idle_ms"); }},
      {{"EXPIRES IN", Align::right, 1},
       [](const Json& r) { return duration_cell(r, "expires_ms"); }},
      {{"LCORE", Align::right, 4}, [](const Json& r) { return exact_cell(r, "lcore"); }},
  };
  ControlRequest request;
  request.verb = "flows";
  request.arguments["limit"] = invocation.option("limit", "50");
  request.payload = fmt::format("{}", fmt::join(invocation.arguments, " "));
  bool is_filtered = !request.payload.empty();
  for (const char* filter : {"client", "vip", "endpoint", "protocol"}) {
    if (!invocation.has(filter)) continue;
    request.arguments[filter] = invocation.option(filter);
    is_filtered = true;
  }
  auto reply = context.peers.ask(Process::dataplane, request);
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const Json& rows = list_of(*reply, "flows");
  if (rows.empty()) {
    context.console.out(is_filtered
                            ? "No flow matches. Show all with: show flows\n"
                            : "There is no flow: no client has sent anything to a VIP lately.\n");
    return exit_ok;
  }
  context.console.out(render(context, rows, fields));
  const auto total = number_of(*reply, "total").value_or(rows.size());
  if (total > rows.size()) {
    context.console.out(fmt::format("{} of {} flows; more with --limit N\n", rows.size(), total));
  }
  return exit_ok;
}

int show_ports(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"NAME"}, [](const Json& r) { return text_of(r, "name"); }},
      {{"LINK"}, [](const Json& r) { return text_of(r, "link", not_known); }},
      {{"DRIVER"}, [](const Json& r) { return text_of(r, "driver"); }},
      {{"PROFILE"}, [](const Json& r) { return text_of(r, "profile"); }},
      {{"QUEUES", Align::right}, [](const Json& r) { return exact_cell(r, "queues"); }},
      {{"MTU", Align::right, 1}, [](const Json& r) { return exact_cell(r, "mtu"); }},
      {{"RX PACKETS", Align::right}, [](const Json& r) { return count_cell(r, "rx_packets"); }},
      {{"RX BYTES", Align::right, 2}, [](const Json& r) { return bytes_cell(r, "rx_bytes"); }},
      {{"TX PACKETS", Align::right}, [](const Json& r) { return count_cell(r, "tx_packets"); }},
      {{"TX BYTES", Align::right, 2}, [](const Json& r) { return bytes_cell(r, "tx_bytes"); }},
      {{"LOST", Align::right}, [](const Json& r) {
         return r.contains("vlan") ? std::string(not_known) : format_count(lost_packets(r));  // its parent's are counted
       }},
  };
  ControlRequest request;
  request.verb = "ports";
  auto reply = context.peers.ask(Process::dataplane, request);
  if (!reply) return report(context, reply.error());
  if (!keep_named(context, *reply, "ports", "port", invocation.argument(0))) return exit_refused;
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const Json& rows = list_of(*reply, "ports");
  if (rows.empty()) {
    context.console.out(
        "The dataplane has no port. Declare them in a node object and load it: apply -f FILE\n");
    return exit_ok;
  }
  context.console.out(render(context, rows, fields));
  for (const Json& port : rows) context.console.out(port_details(port));
  return exit_ok;
}

int show_drops(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"REASON"}, [](const Json& r) { return text_of(r, "name"); }},
      {{"PACKETS", Align::right}, [](const Json& r) { return count_cell(r, "packets"); }},
      {{"BY LCORE", Align::left, 1, true}, lcores_cell},
      {{"MEANING", Align::left, 0, true, true}, [](const Json& r) { return text_of(r, "help"); }},
  };
  ControlRequest request;
  request.verb = "drops";
  auto reply = context.peers.ask(Process::dataplane, request);
  if (!reply) return report(context, reply.error());
  Json shown = Json::array();
  std::uint64_t total = 0;
  for (const Json& drop : list_of(*reply, "drops")) {
    const auto packets = number_of(drop, "packets").value_or(0);
    total += packets;
    if (packets > 0 || invocation.has("all")) shown.push_back(drop);
  }
  if (context.wants_json) {
    (*reply)["drops"] = std::move(shown);
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  if (shown.empty()) {
    context.console.out(
        "No packet was dropped since the dataplane started. All reasons: show drops --all\n");
    return exit_ok;
  }
  context.console.out(render(context, shown, fields));
  context.console.out(fmt::format("{} packet{} dropped since the dataplane started.\n",
                                  format_count(total), total == 1 ? "" : "s"));
  return exit_ok;
}

int show_neighbors(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"ADDRESS"}, [](const Json& r) { return text_of(r, "address"); }},
      {{"MAC"}, [](const Json& r) { return known(text_of(r, "mac")); }},
      {{"PORT"}, [](const Json& r) { return text_of(r, "port"); }},
      {{"STATE"}, [](const Json& r) { return text_of(r, "state"); }},
      {{"AGE", Align::right}, [](const Json& r) { return duration_cell(r, "age_ms"); }},
      {{"HELD", Align::right}, [](const Json& r) { return count_cell(r, "held"); }},
  };
  return show_list(context, invocation,
                   {Process::dataplane, "neighbors", "neighbors", "neighbor",
                    "No neighbor is known: nothing was sent to a next hop or an endpoint yet."},
                   fields);
}

int show_splices(Context& context, const Invocation& invocation) {
  static const std::vector<FieldRow> fields = {
      {{"WHAT"}, [](const Json& r) { return text_of(r, "name"); }},
      {{"COUNT", Align::right},
       [](const Json& r) {
         const bool is_bytes = text_of(r, "name").ends_with("_bytes");
         return is_bytes ? bytes_cell(r, "count") : count_cell(r, "count");
       }},
      {{"MEANING", Align::left, 0, true, true}, [](const Json& r) { return text_of(r, "help"); }},
  };
  return show_list(context, invocation,
                   {Process::dataplane, "splices", "splices", "line", "There are no splices."},
                   fields);
}

int show_version(Context& context, const Invocation&) {
  ControlRequest request;
  request.verb = "status";
  const ProcessStatus mgmt = {Process::mgmt, context.peers.ask(Process::mgmt, request)};
  const ProcessStatus dataplane = {Process::dataplane,
                                   context.peers.ask(Process::dataplane, request)};
  const bool are_all_up = mgmt.reply && dataplane.reply;
  if (context.wants_json) {
    const auto part = [](const ProcessStatus& status) {
      return status.reply ? *status.reply
                          : Json{{"ok", false}, {"error", status.reply.error().message}};
    };
    const Json all = {{"ok", are_all_up},
                      {"shell", {{"version", SLUICE_VERSION}}},
                      {"mgmt", part(mgmt)},
                      {"dataplane", part(dataplane)}};
    context.console.out(dump(all) + "\n");
    return are_all_up ? exit_ok : exit_no_answer;
  }
  Table table({{"PROCESS"},
               {"VERSION"},
               {"STATE"},
               {"GENERATION", Align::right},
               {"UPTIME", Align::right, 1},
               {"PID", Align::right, 2}});
  table.add({"shell", SLUICE_VERSION, "up", std::string(not_known), std::string(not_known),
             std::string(not_known)});
  add_version_row(table, mgmt);
  add_version_row(table, dataplane);
  context.console.out(table.text(context.console.style()));
  if (dataplane.reply) context.console.out(dataplane_notes(*dataplane.reply));
  // What mgmt says of publishing is explained already when the dataplane is down.
  if (are_all_up) context.console.out(mgmt_notes(*mgmt.reply));
  for (const ProcessStatus* status : {&mgmt, &dataplane}) {
    if (!status->reply) context.console.err("\n" + status->reply.error().message + "\n");
  }
  return are_all_up ? exit_ok : exit_no_answer;
}

std::string greeting(const Peers& peers) {
  ControlRequest request;
  request.verb = "status";
  std::vector<std::string> parts;
  for (const Process process : {Process::mgmt, Process::dataplane}) {
    const auto reply = peers.ask(process, request, greeting_timeout);
    std::string state =
        reply ? text_of(*reply, "state", "up") : "DOWN (" + reply.error().reason + ")";
    if (reply && number_of(*reply, "generation")) {
      state += fmt::format(", generation {}", *number_of(*reply, "generation"));
    }
    parts.push_back(fmt::format("{} {}", name_of(process), printable(state)));
  }
  return fmt::format(
      "Sluice {} in {}: {}\n? shows what may come next, Tab completes, Ctrl-D leaves.\n",
      SLUICE_VERSION, peers.run_dir(), fmt::join(parts, "; "));
}

}  // namespace sluice
