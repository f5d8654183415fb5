#include "mgmt/shell/commands.h"

#include <fmt/format.h>

#include "mgmt/shell/configure.h"
#include "mgmt/shell/context.h"
#include "mgmt/shell/drain.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/explain.h"
#include "mgmt/shell/show.h"
#include "mgmt/shell/watch.h"

namespace sluice {
namespace {

int show_help(Context& context, const Invocation& invocation) {
  const Grammar& grammar = context.grammar;
  for (const Command& command : grammar.commands()) {
    const std::string wanted = fmt::format("{}", fmt::join(invocation.arguments, " "));
    if (!wanted.empty() && !command.words.starts_with(wanted)) continue;
    context.console.out(grammar.help(invocation.arguments));
    return exit_ok;
  }
  return report(context, exit_usage,
                fmt::format("'{}' is not a command; help lists all of them",
                            fmt::join(invocation.arguments, " ")));
}

int quit(Context& context, const Invocation&) {
  context.wants_quit = true;
  return exit_ok;
}

const Option file_option = {
    "file", 'f', ValueKind::file, "FILE", "a YAML file, a directory of them, or - for stdin",
    true,   true};
const Option replace_option = {"replace", 0, ValueKind::none, "",
                               "the files are the whole configuration: what is not in them goes"};
const Option watch_option = {"watch", 0, ValueKind::seconds, "SECONDS",
                             "repeat every SECONDS until Ctrl-C"};
const Option namespace_option = {"namespace", 0, ValueKind::text, "NAMESPACE",
                                 "the object's namespace, if it is not the default one"};

constexpr std::string_view filter_help =
    "A filter is made of: host ADDRESS, net PREFIX, src and dst ADDRESS or PREFIX, port N or N-M,\n"
    "proto tcp|udp|icmp|icmpv6|arp, vip NAME (or virtual host), endpoint NAME, state NAME (of the flow),\n"
    "port-name NAME, verdict NAME, any;\n"
    "joined by and, or, not and parentheses. Side by side they are joined by and. An address or a port\n"
    "matches a packet as it came in and as it leaves, and of a flow that a PROXY header began the client\n"
    "that it names.";

const std::vector<Command>& rows() {
  static const std::string trace_details = fmt::format(
      "Shows what each stage found out, the flow, the five-tuples before and after, and the verdict\n"
      "with its reason. Ends after N packets, after --wait, or at Ctrl-C.\n{}", filter_help);
  static const std::string capture_details = fmt::format(
      "The file is pcapng, for Wireshark: an interface each port, and the verdict as a comment at each\n"
      "packet. `verdict drop` or `verdict drop_no_flow` captures what is dropped, for any reason or for\n"
      "that of show drops. Without FILTER all packets.\n{}", filter_help);
  static const std::vector<Command> commands = {
      {"apply",
       {},
       {file_option,
        replace_option,
        {"dry-run", 0, ValueKind::none, "", "check and show the changes, change nothing"}},
       "load configuration objects from YAML files",
       "Objects are merged by kind, namespace and name: new ones are added, known ones replaced,\n"
       "others stay. All or nothing: with one error in any file nothing is changed.",
       apply_files},
      {"diff",
       {},
       {file_option, replace_option},
       "show what apply would change, and what that does to traffic",
       "Exit code: 0 no difference, 1 differences, 2 the files are refused or the command is "
       "wrong,\n"
       "3 sluice-mgmt does not answer. Changes nothing.",
       diff_files},
      {"delete",
       {{ValueKind::object_kind, "KIND", "kind of the object, as in its YAML"},
        {ValueKind::object_name, "NAME", "name of the object"}},
       {namespace_option},
       "remove a configuration object",
       "Refused when another object refers to it.",
       delete_object},
      {"show virtual-hosts",
       {{ValueKind::virtual_host, "NAME", "only this one", true}},
       {watch_option},
       "virtual hosts with their VIPs, state and traffic",
       "UP is how many of the endpoints behind it take new flows, of how many. STATE: ready; pending, until the\n"
       "first health checks are over; down, no endpoint is up; drained, those that are up are all drained.",
       show_virtual_hosts},
      {"show vips",
       {{ValueKind::vip, "NAME", "only this one", true}},
       {watch_option},
       "VIPs as the dataplane serves them, with their traffic",
       "Asks the dataplane itself. RX is what came from clients, TX what was sent to them. A VIP with server names\n"
       "has a row for each virtual host, and `(no name yet)` for what is counted before a client has said its name.",
       show_vips},
      {"show clusters",
       {{ValueKind::cluster, "NAME", "only this one", true}},
       {watch_option},
       "clusters with their policy and how many endpoints are up",
       "",
       show_clusters},
      {"show endpoints",
       {{ValueKind::endpoint, "NAME", "only this one", true}},
       {watch_option},
       "endpoints with their health, flows and traffic",
       "SINCE is how long the health has been what it is. `draining for 12s`: then drain_timeout ends the flows\n"
       "that it still has; `drained`: that has happened.",
       show_endpoints},
      {"show flows",
       {{ValueKind::filter_word, "FILTER", "only flows that match, as in: host 10.1.0.11 port 80", true, true}},
       {{"client", 0, ValueKind::address, "ADDRESS", "only flows of this client, itself or named by a proxy"},
        {"vip", 0, ValueKind::vip, "NAME", "only flows to this VIP or virtual host"},
        {"endpoint", 0, ValueKind::endpoint, "NAME", "only flows to this endpoint"},
        {"protocol", 0, ValueKind::protocol, "tcp|udp", "only flows of this protocol"},
        {"limit", 0, ValueKind::count, "N", "at most N flows (50 when not given)"},
        watch_option},
       "tracked flows",
       "Asks the dataplane itself. The filters are combined with and. FILTER is that of trace add,\n"
       "without port-name and verdict. STATE of TCP: opening, answered (by the endpoint), established, closing\n"
       "(after a FIN), closed, reset, doubted (a RST that nobody has confirmed), ended (by us); of UDP: one-way\n"
       "until there is an answer, established. Of a connection that begins with a PROXY header CLIENT is the\n"
       "proxy and FOR CLIENT whom the header names; filters find both.",
       show_flows},
      {"show ports",
       {{ValueKind::port, "NAME", "only this one", true}},
       {watch_option},
       "ports with driver, profile, queues, offloads and steering",
       "LOST is what the NIC had to drop: no room in a queue, no buffer, or not sent.",
       show_ports},
      {"show drops",
       {},
       {{"all", 0, ValueKind::none, "", "also the reasons that never occurred"}, watch_option},
       "dropped packets by reason",
       "Every packet that is not forwarded is counted under exactly one reason.",
       show_drops},
      {"show neighbors",
       {},
       {watch_option},
       "next hops and endpoints on the local links: ARP and ND",
       "HELD is how many packets wait for the answer.",
       show_neighbors},
      {"show splices",
       {},
       {watch_option},
       "connections that we answer before their endpoint does: SYN cookies, server names",
       "What could not be joined is also counted under its reason in show drops.",
       show_splices},
      {"show captures",
       {},
       {watch_option},
       "captures that run, and the last that ended",
       "LOST is how many packets matched and were too many to note.",
       show_captures},
      {"show config", {}, {}, "the configuration as YAML, ready for apply -f", "", show_config},
      {"show version",
       {},
       {watch_option},
       "versions, states and uptimes of shell, mgmt and dataplane",
       "Exit code 3 when mgmt or the dataplane does not answer.",
       show_version},
      {"trace add",
       {{ValueKind::filter_word, "FILTER", "which packets, and last how many: host 10.1.0.11 port 80 5", false, true}},
       {{"wait", 0, ValueKind::seconds, "SECONDS", "give up after SECONDS (30 when not given)"}},
       "print the walk of the next packets that match through the dataplane",
       trace_details,
       trace_add},
      {"capture start",
       {{ValueKind::file, "FILE", "the pcapng file to write; it must not exist"},
        {ValueKind::filter_word, "FILTER", "which packets, as in: verdict drop", true, true}},
       {{"count", 0, ValueKind::count, "N", "end after N packets (1000 when not given)"},
        {"snap", 0, ValueKind::count, "BYTES", "of each packet (whole packets when not given)"},
        {"at", 0, ValueKind::capture_points, "received|sent|both",
         "packets as they came in, as they leave, or both (both when not given)"},
        {"seconds", 0, ValueKind::count, "SECONDS", "end after SECONDS (3600 when not given)"}},
       "write packets to a file, before and after they are rewritten",
       capture_details,
       capture_start},
      {"capture stop",
       {{ValueKind::capture, "ID", "its number, as capture start said it"}},
       {},
       "end a capture",
       "",
       capture_stop},
      {"drain endpoint",
       {{ValueKind::endpoint, "NAME", "name of the endpoint"}},
       {namespace_option},
       "let an endpoint keep its flows and get no new ones",
       "Undone by: undrain endpoint NAME.",
       drain_endpoint},
      {"undrain endpoint",
       {{ValueKind::endpoint, "NAME", "name of the endpoint"}},
       {namespace_option},
       "let a drained endpoint take new flows again",
       "",
       undrain_endpoint},
      {"drain dataplane",
       {},
       {{"deadline", 0, ValueKind::count, "SECONDS", "end then, whatever is left (60 when not given)"}},
       "let the dataplane keep its flows, get no new ones, and end after the last",
       "A graceful shutdown. Waits until the dataplane has ended; Ctrl-C ends the waiting, not the draining. New flows\n"
       "are dropped (drop.leaving), so that a client's next try may find another box. What is left at the deadline is gone on with by a\n"
       "dataplane that is started then, as after any end. Undone by: undrain dataplane.",
       drain_dataplane},
      {"undrain dataplane", {}, {}, "let a drained dataplane take new flows again", "", undrain_dataplane},
      {"explain",
       {{ValueKind::field_path, "FIELD", "as in cluster.spec.sluice.forwarding; without it all kinds of objects", true}},
       {},
       "what may be written in a configuration: kinds of objects, their fields and values",
       "As the schema of sluice-mgmt has it: types, limits, defaults and what each is for. FIELD is as error messages\n"
       "and `diff` name it, behind the kind; Tab goes on from there.",
       explain_field},
      {"help",
       {{ValueKind::command_word, "COMMAND", "the command to explain", true, true}},
       {},
       "explain the commands, or one of them",
       "",
       show_help},
      {"quit", {}, {}, "leave the shell", "", quit},
      {"exit", {}, {}, "leave the shell", "", quit},
  };
  return commands;
}

}  // namespace

std::span<const Command> all_commands() {
  return rows();
}

std::span<const Option> command_line_options() {
  static const std::vector<Option> options = {
      {"json", 0, ValueKind::none, "", "answer as JSON with all digits, on stdout"},
      {"run-dir", 0, ValueKind::directory, "DIR", "where the sockets are (default /run/sluice)"},
      {"help", 'h', ValueKind::none, "", "explain the command"},
      {"version", 0, ValueKind::none, "", "the version of this shell"},
  };
  return options;
}

std::span<const Option> interactive_options() {
  static const std::vector<Option> options = {
      {"json", 0, ValueKind::none, "", "answer as JSON with all digits"},
      {"help", 'h', ValueKind::none, "", "explain the command"},
  };
  return options;
}

}  // namespace sluice
