#include "dataplane/flow/tcp_state.h"

#include <gtest/gtest.h>

#include <optional>
#include <sstream>

#include "dataplane/net/headers.h"

namespace sluice::tcp_state_test {
namespace {

// "C:syn E:syn+ack=101 C:rst@101": who sends what; after @ its sequence number, after = what it acknowledges, after / its payload.
// ! after a RST: it proves that the connection is gone. ? after a segment: it must make us ask, and no other may.
FlowState state_after(const std::string& segments, Dsr dsr = Dsr::none) {
  FlowRecord record{};
  record.state = FlowState::opening;
  record.dsr = dsr;
  record.protocol = protocol::tcp;
  record.client_isn = 100;
  std::istringstream words(segments);
  for (std::string word; words >> word;) {
    TcpSegment segment;
    const auto has = [&](const char* name) { return word.find(name) != std::string::npos; };
    const auto number_after = [&](char sign) {
      const std::size_t at = word.find(sign);
      return at == std::string::npos ? 0u : static_cast<std::uint32_t>(std::stoul(word.substr(at + 1)));
    };
    if (has("syn")) segment.flags |= tcp_flag::syn;
    if (has("ack")) segment.flags |= tcp_flag::ack;
    if (has("fin")) segment.flags |= tcp_flag::fin;
    if (has("rst")) segment.flags |= tcp_flag::rst;
    segment.direction = word[0] == 'C' ? Direction::to_endpoint : Direction::to_client;
    segment.sequence = number_after('@');
    segment.end = segment.sequence + number_after('/') + (has("fin") ? 1 : 0);
    segment.acknowledgment = number_after('=');
    segment.is_proof = has("!");
    if (changes_nothing(record, segment.flags)) continue;
    EXPECT_EQ(change_tcp_state(record, record.fin_end, segment), has("?")) << word << " of " << segments;
  }
  return record.state;
}

struct Case {
  const char* segments;
  FlowState state;
};

TEST(TcpState, Table) {
  const Case cases[] = {
      {"C:syn", FlowState::opening},
      {"C:syn C:syn", FlowState::opening},
      {"C:syn E:ack", FlowState::opening},
      {"C:syn E:syn+ack", FlowState::answered},
      {"C:syn E:syn+ack E:syn+ack", FlowState::answered},
      {"C:syn E:syn+ack C:syn", FlowState::answered},
      {"C:syn E:syn+ack C:ack", FlowState::established},
      {"C:syn E:syn+ack C:ack C:ack E:ack", FlowState::established},
      // FIN
      {"C:syn E:fin+ack@900", FlowState::opening},
      {"C:syn E:syn+ack C:fin+ack@101", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101", FlowState::closing},
      {"C:syn E:syn+ack C:ack E:fin+ack@901", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 C:fin+ack@101", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:ack=102 E:ack=102", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:fin+ack@901=102", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:fin+ack@901=102 C:ack=902", FlowState::closed},
      {"C:syn E:syn+ack C:ack E:fin+ack@901 C:fin+ack@101=902 E:ack=102", FlowState::closed},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:ack=102 E:fin+ack@901/9=102 C:ack=911", FlowState::closed},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:ack=102 E:fin+ack@901/9=102 C:ack=905", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:fin+ack@901=102 C:fin+ack@101=901 C:ack=902", FlowState::closed},
      {"C:syn E:syn+ack C:ack C:fin+ack@7 E:fin+ack@8=101 C:ack=901", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@7 C:fin+ack@101 E:fin+ack@901=102 C:ack=902", FlowState::closed},
      // RST in the handshake
      {"C:syn E:rst+ack=101", FlowState::reset},
      {"C:syn E:rst+ack=100", FlowState::opening},
      {"C:syn E:rst", FlowState::opening},
      {"C:syn C:rst@101", FlowState::reset},
      {"C:syn C:rst@100", FlowState::opening},
      {"C:syn E:syn+ack C:rst@101", FlowState::reset},
      {"C:syn E:syn+ack C:rst@102", FlowState::answered},
      {"C:syn E:syn+ack E:rst+ack=101", FlowState::reset},
      {"C:syn E:rst+ack=101 C:ack E:ack", FlowState::established},
      {"C:syn E:rst+ack=101 C:ack E:rst C:ack", FlowState::reset},
      // and after it
      {"C:syn E:syn+ack C:ack C:rst?", FlowState::doubted},
      {"C:syn E:syn+ack C:ack C:rst? E:rst C:rst", FlowState::doubted},
      {"C:syn E:syn+ack C:ack C:rst? C:ack", FlowState::doubted},
      {"C:syn E:syn+ack C:ack C:rst? E:ack", FlowState::established},
      {"C:syn E:syn+ack C:ack C:rst? E:ack E:rst?", FlowState::doubted},
      {"C:syn E:syn+ack C:ack C:rst? E:rst!", FlowState::reset},
      {"C:syn E:syn+ack C:ack C:rst? E:rst! C:ack", FlowState::reset},
      {"C:syn E:syn+ack C:ack C:rst? E:rst! C:ack E:ack", FlowState::established},
      {"C:syn E:syn+ack C:ack C:rst? E:rst! C:ack E:ack C:fin+ack@101", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 C:rst? E:ack=101", FlowState::closing},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 C:rst? E:rst!", FlowState::reset},
      {"C:syn E:syn+ack C:ack C:rst? C:fin+ack@101 E:fin+ack@901=102 C:ack=902", FlowState::closed},
      {"C:syn E:syn+ack C:ack C:fin+ack@101 E:fin+ack@901=102 C:ack=902 E:rst", FlowState::closed},
  };
  for (const Case& c : cases) EXPECT_STREQ(name_of(state_after(c.segments)), name_of(c.state)) << c.segments;
}

TEST(TcpState, OfOneSidedFlowsTheClientAloneTells) {
  const Case cases[] = {
      {"C:syn", FlowState::opening},
      {"C:syn C:syn", FlowState::opening},
      {"C:syn C:ack", FlowState::established},
      {"C:syn C:ack C:syn", FlowState::established},
      {"C:syn C:fin+ack@101", FlowState::closing},
      {"C:syn C:ack C:fin+ack@101 C:ack", FlowState::closing},
      {"C:syn C:rst@101", FlowState::reset},
      {"C:syn C:rst@99", FlowState::opening},
      {"C:syn C:ack C:rst? C:rst", FlowState::doubted},
      {"C:syn C:ack C:rst? C:ack", FlowState::established},
      {"C:syn C:ack C:rst? C:rst!", FlowState::reset},
      {"C:syn C:ack C:rst? C:rst! C:ack", FlowState::established},
  };
  for (const Case& c : cases) EXPECT_STREQ(name_of(state_after(c.segments, Dsr::ipip)), name_of(c.state)) << c.segments;
}

TEST(TcpState, WhatNobodyConfirmedShortensNoTimeout) {
  NodeRow node{};
  node.tcp_closing_ms = 2;
  FlowRecord record{};
  record.idle_timeout_ms = 100'000;
  for (const FlowState state : {FlowState::closing, FlowState::doubted}) {
    record.state = state;
    record.flags = flow_flag::fin_doubted_client;
    EXPECT_EQ(timeout_ms_of(record, node), 100'000u) << name_of(state);
    EXPECT_TRUE(is_open_at_both_ends(record));
    record.flags = flow_flag::fin_doubted_client | flow_flag::fin_from_endpoint;
    EXPECT_EQ(timeout_ms_of(record, node), 2u) << name_of(state);
    EXPECT_FALSE(is_open_at_both_ends(record));
  }
}

TEST(TcpState, UdpIsEstablishedByAnAnswer) {
  FlowRecord record{};
  record.state = FlowState::one_way;
  track_udp(record, Direction::to_endpoint);
  EXPECT_EQ(record.state, FlowState::one_way);
  track_udp(record, Direction::to_client);
  EXPECT_EQ(record.state, FlowState::established);
}

TEST(TcpState, OnlyWhatBelongsToTheHandshakeIsPlausible) {
  FlowRecord record{};
  record.client_isn = 0xffff'fff0;
  record.state = FlowState::opening;
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::syn, 1));
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::rst, 0xffff'fff1));
  EXPECT_FALSE(is_plausible_from_client(record, tcp_flag::ack, 0xffff'fff1));
  record.state = FlowState::answered;
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::ack, 0xffff'fff1));
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::ack, 1000));  // across the wrap
  EXPECT_FALSE(is_plausible_from_client(record, tcp_flag::ack, 0xffff'ff00));
  EXPECT_FALSE(is_plausible_from_client(record, tcp_flag::ack, 0x7000'0000));
  record.state = FlowState::established;
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::ack, 0x7000'0000));
  record.state = FlowState::opening;
  record.dsr = Dsr::l2;  // its answer is not seen
  EXPECT_TRUE(is_plausible_from_client(record, tcp_flag::ack, 0xffff'fff1));
  EXPECT_FALSE(is_plausible_from_client(record, tcp_flag::ack, 0x7000'0000));
}

TEST(TcpState, TimeoutsByState) {
  NodeRow node{};
  node.tcp_opening_ms = 1;
  node.tcp_closing_ms = 2;
  node.tcp_closed_ms = 3;
  node.tcp_reset_ms = 4;
  const std::pair<FlowState, std::uint32_t> rows[] = {
      {FlowState::opening, 1}, {FlowState::answered, 1}, {FlowState::established, 100'000}, {FlowState::one_way, 30'000},
      {FlowState::closed, 3},  {FlowState::reset, 4},    {FlowState::ended, 2},             {FlowState::doubted, 100'000}};
  for (const auto& [state, timeout_ms] : rows) {
    FlowRecord record{};
    record.idle_timeout_ms = 100'000;
    record.state = state;
    EXPECT_EQ(timeout_ms_of(record, node), timeout_ms) << name_of(state);
    record.last_seen = 0xffff'ffff;  // the stamp wraps after 49 days
    EXPECT_FALSE(is_expired(record, node, Instant{0xffff'ffffull + timeout_ms - 1})) << name_of(state);
    EXPECT_TRUE(is_expired(record, node, Instant{0xffff'ffffull + timeout_ms})) << name_of(state);
  }
}

TEST(TcpState, MayReopen) {
  for (const FlowState state : {FlowState::closed, FlowState::reset, FlowState::ended}) {
    FlowRecord record{};
    record.state = state;
    EXPECT_TRUE(may_reopen(record, 5)) << name_of(state);
  }
  for (const FlowState state : {FlowState::opening, FlowState::answered, FlowState::established, FlowState::closing, FlowState::doubted}) {
    FlowRecord record{};
    record.state = state;
    EXPECT_FALSE(may_reopen(record, 5)) << name_of(state);
  }
  FlowRecord one_sided{};
  one_sided.state = FlowState::closing;
  one_sided.dsr = Dsr::gue;
  one_sided.client_isn = 7;
  EXPECT_TRUE(may_reopen(one_sided, 8));
  EXPECT_FALSE(may_reopen(one_sided, 7)) << "the SYN that opened it, once more";
}

}  // namespace
}  // namespace sluice::tcp_state_test
