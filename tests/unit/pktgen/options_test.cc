#include "perf/pktgen/options.h"

#include <gtest/gtest.h>

namespace sluice::perf::options_test {
namespace {

Parsed parse(std::vector<std::string> words) {
  std::vector<const char*> argv{"sluice-pktgen"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

std::string refusal(std::vector<std::string> words) {
  testing::internal::CaptureStderr();
  const Parsed parsed = parse(words);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_FALSE(parsed.options) << "accepted";
  EXPECT_EQ(parsed.status, 2);
  return text;
}

TEST(Options, WhatIsSaidIsUnderstood) {
  const Parsed parsed = parse(
      {"--port",       "net_ring0", "--reflect",     "--vip",     "10.9.0.1:80",   "--vip",
       "[fd00::1]:80", "--traffic", "tcp",           "--flows",   "64k",           "--distribution",
       "churn:1k",     "--size",    "imix",          "--clients", "10.1.0.10+100", "--rate",
       "1M",           "--verify",  "--no-handshake"});
  ASSERT_TRUE(parsed.options);
  const Options& options = *parsed.options;
  EXPECT_EQ(options.traffic.kind, Kind::tcp);
  EXPECT_EQ(options.traffic.flows, 64'000u);
  EXPECT_EQ(options.traffic.vips.size(), 2u);
  EXPECT_EQ(options.traffic.clients.v4.count, 100u);
  EXPECT_EQ(options.traffic.clients.v6.count, 254u);
  EXPECT_EQ(options.traffic.sizes.size(), 3u);
  EXPECT_TRUE(options.traffic.verifies);
  EXPECT_FALSE(options.traffic.has_handshake);
  EXPECT_EQ(options.rate.packets_per_second(64), 1e6);
}

TEST(Options, WhatCannotBeIsRefusedWithAReason) {
  struct Case {
    std::vector<std::string> words;
    const char* reason;
  };
  const std::vector<std::string> base{"--port", "net_ring0", "--vip", "10.9.0.1:80"};
  const Case cases[] = {
      {{"--rate", "10x"}, "write packets per second"},
      {{"--flows", "0"}, "0 is outside of 1"},
      {{"--size", "63"}, "63 is outside of 64 to 9000"},
      {{"--vip", "10.9.0.1"}, "a port is wanted"},
      {{"--traffic", "icmp"}, "icmp"},
      {{"--ramp", "1k:2k:1k", "--rfc2544"}, "two ways to choose rates"},
      {{"--reflect", "--endpoints-port", "net_ring1"}, "only one of them"},
      {{"--endpoints-port", "net_ring0"}, "say --reflect"},
      {{"--endpoints", "10.0.0.1+3"}, "where endpoints are played"},
      {{"--gateway", "10.0.0.1", "--to-mac", "02:00:00:00:00:01"}, "asked for its MAC"},
      {{"--to-mac", "02:00:00:00:00"}, "is no MAC address"},
      {{"--traffic", "connections", "--rfc2544"}, "no such count"},
      {{"--traffic", "syn", "--distribution", "churn:1"}, "flows that last"},
      {{"--traffic", "tcp", "--vip", "[fd00::1]:80"}, "headers and stamp of this traffic take 84"},
      {{"--speed", "1"}, "--speed"},
  };
  for (const Case& one : cases) {
    std::vector<std::string> words = base;
    words.insert(words.end(), one.words.begin(), one.words.end());
    const std::string text = refusal(words);
    EXPECT_NE(text.find(one.reason), std::string::npos) << one.words[0] << ": " << text;
  }
  EXPECT_NE(refusal({"--port", "net_ring0"}).find("--vip says where"), std::string::npos);
  EXPECT_NE(refusal({"--vip", "10.9.0.1:80"}).find("--port"), std::string::npos);
}

}  // namespace
}  // namespace sluice::perf::options_test
