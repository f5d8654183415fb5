#include "mgmt/shell/peers.h"

#include <fmt/core.h>

#include <array>

#include "mgmt/shell/directory.h"
#include "mgmt/shell/json.h"

namespace sluice {
namespace {

struct ProcessFacts {
  std::string_view name;
  std::string_view program;
  std::string_view without_it;  // what still works, for the operator who reads that it is down
};

constexpr std::array<ProcessFacts, 2> facts = {{
    {"mgmt", "sluice-mgmt",
     "Traffic goes on without it, with the configuration and the health it published last;\n"
     "show vips, flows, ports, drops, neighbors, splices, captures and version still answer."},
    {"dataplane", "sluice-dataplane",
     "No packet is forwarded without it; its flows are kept for its next start.\n"
     "apply, diff and show config still work: what is applied reaches it when it is back."},
}};

const ProcessFacts& facts_of(Process process) {
  return facts[static_cast<std::size_t>(process)];
}

}  // namespace

std::string_view program_of(Process process) {
  return facts_of(process).program;
}
std::string_view name_of(Process process) {
  return facts_of(process).name;
}

std::string Peers::socket_path(Process process) const {
  return fmt::format("{}/{}.sock", run_dir_, name_of(process));
}

AskError Peers::no_answer(Process process, std::string_view cause) const {
  const std::string path = socket_path(process);
  if (cause.starts_with(path + ": ")) cause.remove_prefix(path.size() + 2);
  AskError error;
  error.process = process;
  const bool is_absent = cause.find("is not running") != std::string_view::npos;
  error.reason = is_absent ? "it is not running" : std::string(cause);
  error.message = fmt::format("{} does not answer on {}: {}.\n{}\n", program_of(process), path,
                              error.reason, facts_of(process).without_it);
  if (!is_directory(run_dir_)) {
    error.message += fmt::format("There is no directory {}: is --run-dir right?\n", run_dir_);
  }
  if (is_absent) {
    error.message += fmt::format("Start it with: {} --run-dir {}", program_of(process), run_dir_);
  } else if (cause.find("ermission denied") != std::string_view::npos) {
    error.message += "The sockets belong to root: run the shell as root.";
  } else {
    error.message += fmt::format("Look at the log of {}, or restart it.", program_of(process));
  }
  return error;
}

tl::expected<Json, AskError> Peers::ask(Process process, const ControlRequest& request,
                                        Milliseconds timeout) const {
  const auto body = call(socket_path(process), request, timeout);
  if (!body) return tl::unexpected(no_answer(process, body.error().message));
  Json reply = Json::parse(*body, nullptr, false);
  if (!reply.is_object() || !reply.contains("ok")) {
    return tl::unexpected(no_answer(process, "its answer is not the JSON object expected"));
  }
  if (flag_of(reply, "ok")) return reply;
  AskError error;
  error.kind = AskError::Kind::refused;
  error.process = process;
  error.message = text_of(reply, "error");
  if (error.message.empty()) {
    error.message = fmt::format("{} refused and gave no reason", program_of(process));
  }
  error.reason = error.message;
  error.reply = dump(reply);
  return tl::unexpected(std::move(error));
}

}  // namespace sluice
