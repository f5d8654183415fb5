#include "dataplane/lcore/control_verbs.h"

#include <gtest/gtest.h>

#include "dataplane/lcore/dataplane.h"
#include "tests/unit/io/small_snapshot.h"

namespace sluice::control_verbs_test {
namespace {

ControlRequest request(std::string_view body) { return std::move(*ControlRequest::parse(body)); }

FlowRecord some_flow() {
  FlowRecord record{};
  FlowOpening opening;
  opening.from_client = {*IpAddress::parse("10.1.0.5"), *IpAddress::parse("10.9.0.1"), be16(4'000), be16(80), 6};
  opening.to_endpoint = {*IpAddress::parse("10.2.0.100"), *IpAddress::parse("10.2.0.11"), be16(1'024), be16(8'080), 6};
  opening.vip_id = 1;
  opening.endpoint_id = 1;
  write_record(record, opening, 0);
  return record;
}

TEST(FlowFilter, matches_what_it_was_asked_for) {
  const auto buffer = small_snapshot(1);
  const auto tables = Snapshot::verify(buffer.bytes());
  const FlowRecord record = some_flow();
  struct {
    const char* arguments;
    bool is_match;
  } const cases[] = {{"", true},
                     {" client=10.1.0.5", true},
                     {" client=10.1.0.6", false},
                     {" protocol=tcp", true},
                     {" protocol=udp", false},
                     {" vip=web", true},
                     {" vip=shop", true},
                     {" endpoint=web-1", true},
                     {"\nstate opening", true},
                     {"\nstate established", false},
                     {" endpoint=web-1 client=10.1.0.6", false},
                     {"\nhost 10.2.0.11 and port 4000", true},
                     {"\nvip shop proto tcp", true},
                     {"\nnet 10.3.0.0/16", false},
                     {" client=10.1.0.5\nnot endpoint web-1", false}};
  for (const auto& test : cases) {
    const auto filter = FlowFilter::parse(request(std::string("flows") + test.arguments), *tables);
    ASSERT_TRUE(filter) << test.arguments;
    EXPECT_EQ(filter->matches(*tables, record, {}), test.is_match) << test.arguments;
  }
}

TEST(FlowFilter, finds_the_client_that_a_proxy_has_named_and_the_proxy) {
  const auto buffer = small_snapshot(1);
  const auto tables = Snapshot::verify(buffer.bytes());
  const FlowRecord record = some_flow();
  const NamedClient named{*IpAddress::parse("2001:db8::9"), be16(5'555), 0, 0};
  struct {
    const char* arguments;
    bool is_match;
  } const cases[] = {{" client=2001:db8::9", true},        {" client=10.1.0.5", true},          {" client=2001:db8::8", false},
                     {" client=10.2.0.11", false},         {"\nhost 2001:db8::9", true},        {"\nsrc 2001:db8::/32 port 5555", true},
                     {"\nhost 10.1.0.5 port 4000", true},  {"\ndst 2001:db8::9", false},        {"\nnot host 2001:db8::9", false},
                     {" client=2001:db8::9\nvip shop", true}, {" client=2001:db8::9\nport 5556", false}};
  for (const auto& test : cases) {
    const auto filter = FlowFilter::parse(request(std::string("flows") + test.arguments), *tables);
    ASSERT_TRUE(filter) << test.arguments;
    EXPECT_EQ(filter->matches(*tables, record, named), test.is_match) << test.arguments;
  }
}

TEST(FlowFilter, a_flow_of_a_vip_that_is_gone_has_no_name_to_match) {
  const auto buffer = small_snapshot(1);
  FlowRecord record = some_flow();
  record.vip_id = 99;
  const auto tables = Snapshot::verify(buffer.bytes());
  EXPECT_FALSE(FlowFilter::parse(request("flows vip=web"), *tables)->matches(*tables, record, {}));
  record.endpoint_id = 99;
  EXPECT_FALSE(FlowFilter::parse(request("flows endpoint=web-1"), *tables)->matches(*tables, record, {}));
  EXPECT_TRUE(FlowFilter::parse(request("flows"), *tables)->matches(*tables, record, {}));
}

TEST(FlowFilter, says_what_it_cannot_read) {
  const auto buffer = small_snapshot(1);
  const auto tables = Snapshot::verify(buffer.bytes());
  for (const char* body : {"flows\nverdict drop", "flows\nport-name outside", "flows\nhost", "flows limit=many", "flows limit=-1", "flows limit=1x", "flows limit=99999999",
                           "flows client=10.1.0", "flows protocol=icmp", "flows vip=other", "flows endpoint=web-2"}) {
    EXPECT_FALSE(FlowFilter::parse(request(body), *tables)) << body;
  }
  EXPECT_EQ(FlowFilter::parse(request("flows vip=wbe"), *tables).error().message,
            "flows: filter: no vip is named 'wbe'; known are shop, web");
  EXPECT_EQ(FlowFilter::parse(request("flows\nhost 10.1.0.5 verdict drop"), *tables).error().message,
            "flows: filter: 'verdict' is of packets, a flow has none; trace add and capture start take it");
  EXPECT_EQ(FlowFilter::parse(request("flows limit=7"), *tables)->limit, 7u);
}

TEST(DataplaneOptions, flow_file_follows_the_run_directory) {
  char program[] = "sluice-dataplane", run[] = "--run-dir", place[] = "/tmp/sites/a/", state[] = "--state-dir=/tmp/s";
  char* argv[] = {program, run, place, state};
  const auto options = DataplaneOptions::parse(4, argv);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->run_dir, "/tmp/sites/a");
  EXPECT_EQ(options->state_dir, "/tmp/s");
  EXPECT_EQ(options->flow_file, "/dev/hugepages/sluice-a-flows");
}

TEST(DataplaneOptions, an_unknown_word_or_a_missing_value_is_refused) {
  char program[] = "sluice-dataplane", wrong[] = "--rundir", run[] = "--run-dir";
  char* unknown[] = {program, wrong};
  char* cut[] = {program, run};
  EXPECT_FALSE(DataplaneOptions::parse(2, unknown));
  EXPECT_FALSE(DataplaneOptions::parse(2, cut));
}

}  // namespace
}  // namespace sluice::control_verbs_test
