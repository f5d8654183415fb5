#include "mgmt/shell/commands.h"

#include <fmt/format.h>

#include "mgmt/shell/configure.h"
#include "mgmt/shell/context.h"
#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/show.h"

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

const std::vector<Command>& rows() {
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
       "UP is how many of the endpoints behind it take new flows, of how many.",
       show_virtual_hosts},
      {"show vips",
       {{ValueKind::vip, "NAME", "only this one", true}},
       {watch_option},
       "VIPs as the dataplane serves them, with their traffic",
       "Asks the dataplane itself. RX is what came from clients, TX what was sent to them.",
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
       "SINCE is how long the health has been what it is.",
       show_endpoints},
      {"show flows",
       {},
       {{"client", 0, ValueKind::address, "ADDRESS", "only flows of this client"},
        {"vip", 0, ValueKind::vip, "NAME", "only flows to this VIP"},
        {"endpoint", 0, ValueKind::endpoint, "NAME", "only flows to this endpoint"},
        {"protocol", 0, ValueKind::protocol, "tcp|udp", "only flows of this protocol"},
        {"limit", 0, ValueKind::count, "N", "at most N flows (50 when not given)"},
        watch_option},
       "tracked flows",
       "Asks the dataplane itself. The filters are combined with and.",
       show_flows},
      {"show ports",
       {{ValueKind::text, "NAME", "only this one", true}},
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
      {"show config", {}, {}, "the configuration as YAML, ready for apply -f", "", show_config},
      {"show version",
       {},
       {watch_option},
       "versions, states and uptimes of shell, mgmt and dataplane",
       "Exit code 3 when mgmt or the dataplane does not answer.",
       show_version},
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
      {"help",
       {{ValueKind::command_word, "COMMAND", "the command to explain", true, true}},
       {},
       "explain the commands, or one of them",
       "",
       show_help},
      {"quit", {}, {}, "leave the shell", "", quit},
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
