// The bench itself: a trace that is wrong must fail, or all others prove nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/traces/run_trace.h"

namespace sluice::bed_test {
namespace {

const char* const head =
    "# A trace.\n"
    "config  cluster web { endpoint 10.2.0.11:8080; endpoint 10.2.0.12:8080; }  vip 10.9.0.1:80/tcp { cluster web; }\n";

std::string run(const std::string& lines) {
  const std::string path = std::filesystem::temp_directory_path() / ("sluice-bed-" + std::to_string(getpid()) + ".trace");
  std::ofstream(path) << head << lines;
  const std::string fault = trace::run_trace(path);
  std::filesystem::remove(path);
  return fault;
}

struct Case {
  const char* name;
  const char* lines;
  const char* complaint;
};

const Case cases[] = {
    {"wrong_endpoint", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:* > 10.2.0.12:8080 tcp syn\n", ":4: expected"},
    {"wrong_flags", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:* > 10.2.0.11:8080 tcp syn ack\n", ":4: expected"},
    {"wrong_option", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn seq=5\nout 10.2.0.100:* > 10.2.0.11:8080 tcp syn seq=6\n", ":4: expected"},
    {"wrong_port", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:* > 10.2.0.11:8080 tcp syn port=outside\n", ":4: expected"},
    {"variable_differs", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:$p > 10.2.0.11:8080 tcp syn\n"
                         "in 198.51.100.7:2 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:$p > 10.2.0.12:8080 tcp syn\n", ":6: expected"},
    {"output_not_named", "in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nverdict forward\n", "expected nothing more"},
    {"silence_not_explained", "in 198.51.100.7:1 > 10.9.0.1:81 tcp syn\n", "nothing came out"},
    {"output_missing", "in 198.51.100.7:1 > 10.9.0.1:81 tcp syn\nout 10.2.0.100:* > 10.2.0.11:8080 tcp syn\n", "got nothing; the verdict is drop_no_vip"},
    {"wrong_verdict", "in 198.51.100.7:1 > 10.9.0.1:81 tcp syn\nverdict drop_no_flow\n", "expected verdict drop_no_flow, got drop_no_vip"},
    {"wrong_count", "count flows 1\n", "expected flows 1, got 0"},
    {"unknown_word", "in 198.51.100.7:1 > 10.9.0.1:80 tcp sin\n", "'sin' says nothing"},
    {"unknown_statement", "on 198.51.100.7:1 > 10.9.0.1:80 tcp syn\n", "no statement of a trace"},
};

TEST(Bed, WrongTracesFailAndSayWhere) {
  EXPECT_EQ(run("in 198.51.100.7:1 > 10.9.0.1:80 tcp syn\nout 10.2.0.100:* > 10.2.0.11:8080 tcp syn\n"), "");
  for (const Case& c : cases) EXPECT_NE(run(c.lines).find(c.complaint), std::string::npos) << c.name << ": " << run(c.lines);
}

}  // namespace
}  // namespace sluice::bed_test
