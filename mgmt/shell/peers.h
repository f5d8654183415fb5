// Peers: the processes the shell asks, and what to tell the operator when one does not answer.
// Threads:  any; each question opens its own connection.
// Errors:   AskError; both kinds carry sentences for the operator.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "dataplane/base/control_channel.h"

namespace sluice {

using Json = nlohmann::ordered_json;  // json.h reads it

enum class Process : std::uint8_t { mgmt, dataplane };
std::string_view program_of(Process process);  // "sluice-mgmt"
std::string_view name_of(Process process);     // "mgmt"

struct AskError {
  enum class Kind : std::uint8_t {
    no_answer,  // nobody there, or not in time, or not understandable
    refused,    // it answered {"ok": false, ...}
  };
  Kind kind = Kind::no_answer;
  Process process = Process::mgmt;
  std::string message;  // no_answer: several lines: what, what still works, what to do
  std::string reason;   // no_answer: the few words for a table: "it is not running"
  std::string reply;    // refused: all of it, JSON
};

class Peers {
 public:
  explicit Peers(std::string run_dir) : run_dir_(std::move(run_dir)) {}
  const std::string& run_dir() const { return run_dir_; }

  // A reply with "ok": true, or the error.
  tl::expected<Json, AskError> ask(Process process, const ControlRequest& request,
                                   Milliseconds timeout = {10'000}) const;

 private:
  std::string socket_path(Process process) const;
  AskError no_answer(Process process, std::string_view cause) const;

  std::string run_dir_;
};

}  // namespace sluice
