// Golden terminal sessions: tests/golden/shell/*.session, run with the real `sluice` binary against
// fake processes. A session file reads:
//
//   # One sentence: what it shows.
//
//   processes mgmt dataplane      which ones run (default: both)
//
//   reply mgmt endpoints {...}    replaces a canned reply of mgmt.json or dataplane.json;
//                                 "@ago N" in it stands for the Unix time N milliseconds ago
//
//   file web.yaml                 a file in the working directory: the lines that follow,
//                                 indented by four
//
//   $ sluice show endpoints       run by sh; --run-dir is added
//   NAME   ADDRESS ...            its stdout, then its stderr with "! " before each line
//   [exit 1]                      when it is not 0
//
//   % requests mgmt               what mgmt was asked since the last time
//
// With SLUICE_GOLDEN_UPDATE=1 in the environment the files are rewritten with what came out: look
// at the difference before it is committed.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "tests/unit/shell/fake_process.h"

namespace sluice::session_test {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// `"@ago 1000"` becomes the Unix time of one second ago, in milliseconds.
std::string with_times(std::string json) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::string mark = "\"@ago ";
  for (std::size_t at = json.find(mark); at != std::string::npos; at = json.find(mark, at)) {
    const std::size_t end = json.find('"', at + 1);
    const auto ago_ms = std::stoll(json.substr(at + mark.size(), end - at - mark.size()));
    json.replace(at, end + 1 - at, std::to_string(now_ms - ago_ms));
  }
  return json;
}

std::map<std::string, std::string> canned_replies(const std::string& process) {
  const std::string path = fmt::format("{}/{}.json", SHELL_GOLDEN_DIR, process);
  std::map<std::string, std::string> replies;
  const auto all = nlohmann::ordered_json::parse(read_text(path));
  for (const auto& [verb, reply] : all.items()) replies[verb] = with_times(reply.dump());
  return replies;
}

// Replays one session in a directory of its own.
class Session {
 public:
  Session() { std::filesystem::create_directory(directory_.path() + "/run"); }

  void start(const std::string& process) {
    processes_[process] = std::make_unique<FakeProcess>(
        fmt::format("{}/run/{}.sock", directory_.path(), process), canned_replies(process));
  }

  void set_reply(const std::string& line) {
    std::istringstream stream(line);
    std::string directive, process, verb, json;
    stream >> directive >> process >> verb;
    std::getline(stream >> std::ws, json);
    processes_.at(process)->set_reply(verb, with_times(json));
  }

  void write_file(const std::string& name, const std::string& text) {
    write_text(directory_.path() + "/" + name, text);
  }

  std::string run(const std::string& command) {
    const std::string script = fmt::format(
        "cd '{}' && export HOME=$PWD PATH='{}':$PATH LC_ALL=C.UTF-8\n"
        "sluice() {{ command sluice --run-dir run \"$@\"; }}\n"
        "exec >.out 2>.err </dev/null\n{}\n",
        directory_.path(), std::filesystem::path(SLUICE_BINARY).parent_path().string(), command);
    const int status = system(script.c_str());
    std::string text = read_text(directory_.path() + "/.out");
    if (!text.empty() && !text.ends_with('\n')) text += "\n(no newline at the end)\n";
    for (const std::string& line : lines_of(read_text(directory_.path() + "/.err"))) {
      text += line.empty() ? "!\n" : "! " + line + "\n";
    }
    const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (exit_code != 0) text += fmt::format("[exit {}]\n", exit_code);
    return text;
  }

  std::string requests(const std::string& process) {
    std::string text;
    for (const std::string& request : processes_.at(process)->take_requests()) {
      text += request + (request.ends_with('\n') ? "" : "\n");
    }
    return text;
  }

 private:
  TemporaryDirectory directory_;
  std::map<std::string, std::unique_ptr<FakeProcess>> processes_;
};

// The session file as it should be: the input lines kept, the output lines as they came out.
std::string replay(const std::string& text) {
  Session session;
  const auto lines = lines_of(text);
  std::string result;
  const bool names_processes = text.find("\nprocesses") != std::string::npos;
  if (!names_processes) {
    session.start("mgmt");
    session.start("dataplane");
  }
  bool is_output = false;  // the lines of the file are the output of the command before them
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    const bool is_command = line.starts_with("$ ");
    const bool is_question = line.starts_with("% requests ");
    if (is_output && !is_command && !is_question) continue;
    result += line + "\n";
    if (line.starts_with("processes")) {
      std::istringstream names(line.substr(9));
      for (std::string name; names >> name;) session.start(name);
    } else if (line.starts_with("reply ")) {
      session.set_reply(line);
    } else if (line.starts_with("file ")) {
      std::string content;
      while (i + 1 < lines.size() && lines[i + 1].starts_with("    ")) {
        result += lines[++i] + "\n";
        content += lines[i].substr(4) + "\n";
      }
      session.write_file(line.substr(5), content);
    } else if (is_command) {
      result += session.run(line.substr(2));
      is_output = true;
    } else if (is_question) {
      result += session.requests(line.substr(11));
      is_output = true;
    }
  }
  return result;
}

class GoldenSession : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenSession, IsAsWritten) {
  const std::string path = fmt::format("{}/{}.session", SHELL_GOLDEN_DIR, GetParam());
  const std::string expected = read_text(path);
  const std::string actual = replay(expected);
  if (getenv("SLUICE_GOLDEN_UPDATE") != nullptr) {
    write_text(path, actual);
    return;
  }
  EXPECT_EQ(expected, actual);
}

std::vector<std::string> session_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SHELL_GOLDEN_DIR)) {
    if (entry.path().extension() == ".session") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Shell, GoldenSession, ::testing::ValuesIn(session_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sluice::session_test
