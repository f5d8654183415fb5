#include "dataplane/flow/snat_ports.h"

#include <rte_thash.h>

#include <set>

#include "tests/traces/model.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::snat_ports_test {
namespace {

TEST(SnatSlices, CoverThePoolOnceForEveryLcoreCount) {
  SLUICE_TRACE_SEED();
  test::Random random(40);
  for (int round = 0; round < 200; ++round) {
    SnatPoolRow pool{};
    pool.port_first = static_cast<std::uint16_t>(1 + random.below(60'000));
    pool.port_last = static_cast<std::uint16_t>(std::min<std::uint64_t>(65'535, pool.port_first + 16 + random.below(70'000)));
    for (std::uint32_t lcores = 1; lcores <= workers_max; ++lcores) {
      std::uint32_t expected = pool.port_first;
      for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
        const PortSlice slice = slice_of(pool, lcore, lcores);
        ASSERT_EQ(slice.first, expected);
        ASSERT_GE(slice.last, slice.first);
        ASSERT_EQ(owner_of_port(pool, slice.first, lcores), lcore);
        ASSERT_EQ(owner_of_port(pool, slice.last, lcores), lcore);
        expected = std::uint32_t{slice.last} + 1;
      }
      ASSERT_EQ(expected, std::uint32_t{pool.port_last} + 1);
      ASSERT_FALSE(owner_of_port(pool, static_cast<std::uint16_t>(pool.port_first - 1), lcores));
      if (pool.port_last < 65'535) {
        ASSERT_FALSE(owner_of_port(pool, static_cast<std::uint16_t>(pool.port_last + 1), lcores));
      }
    }
  }
}

struct Pool {
  SnapshotBuffer buffer;
  Snapshot tables;
};

Pool pool_of(const std::string& range, const std::string& lcores) {
  trace::Model model;
  for (const trace::Words& words : std::vector<trace::Words>{{"lcores", lcores},
                                                             {"flows", "131072"},
                                                             {"snat", "inside", "10.2.0.100", "10.2.0.101", "fd00:2::100", "ports", range},
                                                             {"cluster", "web", "{", "endpoint", "10.2.0.11:80", "}"}}) {
    EXPECT_TRUE(model.change(words));
  }
  auto buffer = model.compile();
  EXPECT_TRUE(buffer) << buffer.error().message;
  Pool pool{std::move(*buffer), {}};
  pool.tables = *Snapshot::verify(std::as_const(pool.buffer).bytes());
  return pool;
}

// One lcore that takes SNAT ports and opens flows with them.
class Taker {
 public:
  Taker(const Snapshot& tables, std::uint32_t lcore, ReplyOwner replies)
      : tables_(tables), lcore_(lcore), replies_(std::move(replies)), records_(140'000), flows_(records_, {1 + lcore, 2}), ports_(99 + lcore) {}

  FlowRecord* take() {
    const EndpointRow& endpoint = tables_.endpoints()[0];
    const SnatChoice choice = ports_.choose(tables_, tables_.snat_pools()[0], endpoint, flows_.count(), flows_, replies_, lcore_);
    if (choice.outcome != SnatChoice::Outcome::found) return nullptr;
    EXPECT_LE(choice.probes, SnatPorts::probes_max);
    FlowOpening opening;
    opening.from_client = {IpAddress::v4(be32(0x0b000000 + next_++)), *IpAddress::parse("10.9.0.1"), be16(7), be16(80), 6};
    opening.to_endpoint = {choice.address, endpoint.address, choice.port, endpoint.port, 6};
    EXPECT_FALSE(flows_.contains(opening.to_endpoint.reversed()));
    return flows_.open(opening, Instant{0});
  }
  Conntrack& flows() { return flows_; }

 private:
  const Snapshot& tables_;
  std::uint32_t lcore_, next_ = 1;
  ReplyOwner replies_;
  std::vector<FlowRecord> records_;
  Conntrack flows_;
  SnatPorts ports_;
};

TEST(SnatPorts, FillsToTheLastPortThenRecovers) {
  SLUICE_TRACE_SEED();
  test::Random random(41);
  const Pool pool = pool_of("1024-65535", "1");
  Taker taker(pool.tables, 0, ReplyOwner(1));
  constexpr std::size_t capacity = 2 * (65'535 - 1'024 + 1);
  std::vector<FlowRecord*> taken;
  while (FlowRecord* record = taker.take()) taken.push_back(record);
  EXPECT_EQ(taken.size(), capacity);
  EXPECT_EQ(taker.take(), nullptr);
  for (std::size_t i = 0; i < capacity / 10; ++i) {
    const std::size_t which = random.below(taken.size());
    taker.flows().close(*taken[which]);
    taken[which] = taken.back();
    taken.pop_back();
  }
  // With one place in ten free a choice of 64 tries misses once in a thousand; the client's next SYN goes on from there.
  std::size_t found = 0, missed = 0;
  while (found < capacity / 20) taker.take() != nullptr ? ++found : ++missed;
  EXPECT_LE(missed, found / 50);
}

TEST(SnatPorts, SmallPoolsAreFilledExactlyAlsoInDisorder) {
  SLUICE_TRACE_SEED();
  test::Random random(42);
  const Pool pool = pool_of("2000-2015", "1");  // 32 places: each choice may try them all
  Taker taker(pool.tables, 0, ReplyOwner(1));
  std::vector<FlowRecord*> taken;
  for (int step = 0; step < 20'000; ++step) {
    if (random.one_in(2)) {
      FlowRecord* record = taker.take();
      ASSERT_EQ(record == nullptr, taken.size() == 32);
      if (record != nullptr) taken.push_back(record);
    } else if (!taken.empty()) {
      const std::size_t which = random.below(taken.size());
      taker.flows().close(*taken[which]);
      taken[which] = taken.back();
      taken.pop_back();
    }
  }
}

TEST(SnatPorts, NoTwoLcoresShareAPort) {
  for (const std::uint32_t lcores : {2u, 3u}) {
    const Pool pool = pool_of("2000-2999", std::to_string(lcores));
    std::set<std::pair<IpAddress, std::uint16_t>> used;
    std::size_t count = 0;
    for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
      Taker taker(pool.tables, lcore, ReplyOwner(lcores));
      while (FlowRecord* record = taker.take()) {
        ++count;
        const FlowKey reply = arriving_key(*record, Direction::to_client);
        ASSERT_TRUE(used.emplace(reply.destination, reply.destination_port.host()).second);
        ASSERT_EQ(owner_of_port(pool.tables.snat_pools()[0], reply.destination_port.host(), lcores), lcore);
      }
    }
    EXPECT_EQ(count, 2'000u);
  }
}

// Every worker's part by hash: what it takes comes back to it, by a hash that is not the product's.
class SnatPortsByHash : public testing::TestWithParam<std::uint32_t> {};

TEST_P(SnatPortsByHash, EveryPortBringsTheReplyToWhoTookIt) {
  const std::uint32_t lcores = GetParam();
  std::vector<std::uint8_t> key(40);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i * 73 + 0x6d);
  ReplyHash hash{Toeplitz(key), {}, true, false, true, false};
  for (std::size_t bucket = 0; bucket < 128; ++bucket) hash.lcore_of_bucket.push_back(static_cast<std::uint8_t>(bucket % lcores));
  const ReplyOwner replies(lcores, hash);
  const Pool pool = pool_of("10000-19999", std::to_string(lcores));
  std::set<std::pair<IpAddress, std::uint16_t>> used;
  for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
    Taker taker(pool.tables, lcore, replies);
    for (int i = 0; i < 500; ++i) {
      FlowRecord* record = taker.take();
      ASSERT_NE(record, nullptr);
      const FlowKey reply = arriving_key(*record, Direction::to_client);
      std::uint32_t words[3] = {reply.source.as_v4().host(), reply.destination.as_v4().host(),
                                std::uint32_t{reply.source_port.host()} << 16 | reply.destination_port.host()};
      ASSERT_EQ(hash.lcore_of_bucket[rte_softrss(words, 3, key.data()) % 128], lcore);
      ASSERT_EQ(replies.of(pool.tables.snat_pools()[0], reply), lcore);
      ASSERT_TRUE(used.emplace(reply.destination, reply.destination_port.host()).second);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Lcores, SnatPortsByHash, testing::Values(2u, 3u, 8u, 16u));

TEST(SnatPorts, ByHashAPoolIsUsedToTheLastPort) {
  const ReplyHash hash{Toeplitz(std::vector<std::uint8_t>(40, 0x5b)), {0, 1}, true, true, true, true};
  const ReplyOwner replies(2, hash);
  const Pool pool = pool_of("2000-2999", "2");
  std::size_t count = 0;
  for (std::uint32_t lcore = 0; lcore < 2; ++lcore) {
    Taker taker(pool.tables, lcore, replies);
    for (int misses = 0; misses < 200;) taker.take() != nullptr ? ++count : static_cast<std::size_t>(++misses);
  }
  EXPECT_EQ(count, 2'000u) << "two addresses, a thousand ports, both lcores together";
}

TEST(ReplyOwner, SmallPoolsAndUnhashedProtocolsAreCutIntoSlices) {
  const ReplyHash hash{Toeplitz(std::vector<std::uint8_t>(40, 0x5b)), {0, 1}, true, false, false, false};
  const ReplyOwner replies(2, hash);
  SnatPoolRow pool{};
  pool.port_first = 1'000;
  pool.port_last = 1'511;
  EXPECT_NE(replies.hash_for(pool, true, protocol::tcp), nullptr);
  EXPECT_EQ(replies.hash_for(pool, true, protocol::udp), nullptr);
  EXPECT_EQ(replies.hash_for(pool, false, protocol::tcp), nullptr);
  pool.port_last = 1'510;
  EXPECT_EQ(replies.hash_for(pool, true, protocol::tcp), nullptr);
  FlowKey reply{*IpAddress::parse("10.2.0.11"), *IpAddress::parse("10.2.0.100"), be16(80), be16(999), protocol::tcp};
  EXPECT_EQ(replies.of(pool, reply), std::nullopt);
  reply.destination_port = be16(1'000);
  EXPECT_EQ(replies.of(pool, reply), 0u);
}

}  // namespace
}  // namespace sluice::snat_ports_test
