// Limits of flows over all lcores: Worlds on threads of their own, which open and close as they like.
#include "dataplane/pipeline/flow_limits.h"

#include <atomic>
#include <barrier>
#include <thread>

#include "dataplane/pipeline/process_burst.h"
#include "dataplane/pipeline/stages.h"
#include "dataplane/pipeline/take_over.h"
#include "tests/traces/model.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::flow_limits_test {
namespace {

constexpr std::uint32_t lcore_count = 4;
constexpr std::uint32_t vip_max = 40, endpoint_max = 15;  // three endpoints: they are full before all that the VIP may have

// A snapshot with these limits; 0 is none.
class Tables {
 public:
  Tables(std::uint32_t of_vip, std::uint32_t of_endpoint) {
    trace::Model model;
    EXPECT_TRUE(model.change({"lcores", std::to_string(lcore_count)}));
    EXPECT_TRUE(model.change({"cluster", "web", "{", "choice", "hash", ";", "endpoint_flows_max", std::to_string(of_endpoint), ";",
                              "endpoint", "10.2.0.11:80", ";", "endpoint", "10.2.0.12:80", ";", "endpoint", "10.2.0.13:80", "}",
                              "vip", "10.9.0.1:80/tcp", "{", "cluster", "web", ";", "flows_max", std::to_string(of_vip), "}"}));
    auto buffer = model.compile();
    EXPECT_TRUE(buffer) << buffer.error().message;
    buffer_.emplace(std::move(*buffer));
    snapshot_.emplace(*Snapshot::verify(std::as_const(*buffer_).bytes()));
  }
  const Snapshot& operator*() const { return *snapshot_; }
  const Snapshot* operator->() const { return &*snapshot_; }

 private:
  std::optional<SnapshotBuffer> buffer_;
  std::optional<Snapshot> snapshot_;
};

// The lcores of a process, and what they have open: by lcore the ids of endpoints.
class FlowLimitsTest : public testing::Test {
 protected:
  FlowLimitsTest() : held_(lcore_count) {
    for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
      records_.emplace_back(16);
      worlds_.push_back(std::make_unique<World>(Conntrack(records_.back(), {1, 2}), lcore, lcore_count, shared_));
    }
  }

  void show(std::uint32_t lcore, const Tables& tables) {
    worlds_[lcore]->tables = &*tables;
    adopt_snapshot(*worlds_[lcore]);
  }
  // A flow, as far as limits are concerned.
  bool open(std::uint32_t lcore, std::uint64_t hash) {
    World& world = *worlds_[lcore];
    const VipRow& vip = world.tables->vips()[0];
    const ClusterRow& cluster = world.tables->clusters()[vip.cluster];
    const auto endpoints = world.tables->endpoints_of(cluster);
    const EndpointRow* endpoint = take_endpoint_of(world, cluster, endpoints[hash % endpoints.size()], hash);
    if (endpoint == nullptr) return false;
    if (!take_vip(world, vip)) {
      leave_endpoint(world, endpoint->id);
      return false;
    }
    held_[lcore].push_back(endpoint->id);
    return true;
  }
  void close(std::uint32_t lcore) {
    leave_vip(*worlds_[lcore], vip_id());
    leave_endpoint(*worlds_[lcore], held_[lcore].back());
    held_[lcore].pop_back();
  }
  void close_all() {
    for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
      while (!held_[lcore].empty()) close(lcore);
    }
  }
  std::uint32_t vip_id() const { return worlds_[0]->tables->vips()[0].id; }
  std::uint32_t shared_of_vip() const { return shared_.vips[vip_id()].flows.read(); }
  std::uint32_t shared_of_endpoints() const {
    std::uint32_t sum = 0;
    for (const EndpointRow& endpoint : worlds_[0]->tables->endpoints()) sum += shared_.endpoints[endpoint.id].read();
    return sum;
  }
  std::size_t held_count() const {
    std::size_t count = 0;
    for (const auto& held : held_) count += held.size();
    return count;
  }
  // `work(lcore, random)` on a thread for each lcore.
  template <class Work>
  void on_threads(std::uint64_t salt, Work work) {
    std::vector<std::thread> threads;
    for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
      threads.emplace_back([&, lcore] {
        test::Random random(salt + lcore);
        work(lcore, random);
      });
    }
    for (auto& thread : threads) thread.join();
  }

  const Tables limited_{vip_max, endpoint_max}, lower_{vip_max / 2, endpoint_max / 2}, free_{0, 0};
  SharedLimits shared_{HashSecret{5, 6}};
  std::vector<std::vector<FlowRecord>> records_;
  std::vector<std::unique_ptr<World>> worlds_;
  std::vector<std::vector<std::uint32_t>> held_;
};

TEST_F(FlowLimitsTest, NeverMoreThanTheLimitAndNoneLeftInTheEnd) {
  SLUICE_TRACE_SEED();
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, limited_);
  // Counted after a flow is open and before it closes: never more than there are.
  std::atomic<std::uint32_t> of_vip{0};
  std::array<std::atomic<std::uint32_t>, 64> of_endpoint{};
  std::atomic<std::uint32_t> most{0}, too_many{0};
  on_threads(81, [&](std::uint32_t lcore, test::Random& random) {
    for (std::uint64_t i = 0; i < test::tries(300'000); ++i) {
      if (held_[lcore].empty() || random.below(5) < 3) {
        if (!open(lcore, random.word())) continue;
        const std::uint32_t all = of_vip.fetch_add(1) + 1;
        if (all > vip_max || of_endpoint[held_[lcore].back()].fetch_add(1) + 1 > endpoint_max) ++too_many;
        if (all > most) most = all;
      } else {
        --of_vip;
        --of_endpoint[held_[lcore].back()];
        close(lcore);
      }
    }
  });
  EXPECT_EQ(too_many, 0u);
  EXPECT_GE(most, vip_max - 2);  // reached: one thread alone would not have to
  EXPECT_EQ(shared_of_vip(), held_count());
  EXPECT_EQ(shared_of_endpoints(), held_count());
  close_all();
  EXPECT_EQ(shared_of_vip(), 0u);
  EXPECT_EQ(shared_of_endpoints(), 0u);
  // All of it is there for one lcore, and nothing more.
  for (std::uint32_t i = 0; i < vip_max; ++i) EXPECT_TRUE(open(1, i)) << i;
  EXPECT_FALSE(open(1, 0));
  EXPECT_FALSE(open(2, 0));
  close(1);
  EXPECT_TRUE(open(2, 0));
}

// Two who ask at once while there is room for one: one of them gets it.
TEST_F(FlowLimitsTest, TheLastPlaceIsGivenToOneOfThoseWhoAskAtOnce) {
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, limited_);
  for (std::uint32_t i = 0; i + 1 < vip_max; ++i) ASSERT_TRUE(open(0, i));
  const std::uint64_t rounds = test::tries(10'000);
  std::barrier together(lcore_count);
  std::vector<std::atomic<std::uint32_t>> got(rounds);
  on_threads(82, [&](std::uint32_t lcore, test::Random& random) {
    for (std::uint64_t round = 0; round < rounds; ++round) {
      together.arrive_and_wait();
      const bool is_open = open(lcore, random.word());
      if (is_open) ++got[round];
      together.arrive_and_wait();
      if (is_open) close(lcore);
    }
  });
  for (std::uint64_t round = 0; round < rounds; ++round) ASSERT_EQ(got[round].load(), 1u) << "round " << round;
}

// A limit comes, changes and goes while lcores open and close, each of which takes the snapshots when it comes to it.
TEST_F(FlowLimitsTest, ACountIsRightWhicheverLimitsCameAndWent) {
  SLUICE_TRACE_SEED();
  const std::array<const Tables*, 3> all{&limited_, &lower_, &free_};
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, free_);
  for (std::uint64_t round = 0; round < test::tries(50); ++round) {
    on_threads(83 + round * lcore_count, [&](std::uint32_t lcore, test::Random& random) {
      for (int i = 0; i < 2'000; ++i) {
        if (random.one_in(50)) show(lcore, *all[random.below(all.size())]);
        if (held_[lcore].empty() || (random.one_in(2) && held_[lcore].size() < 100)) {
          open(lcore, random.word());
        } else {
          close(lcore);
        }
      }
    });
    for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, limited_);
    ASSERT_EQ(shared_of_vip(), held_count());
    ASSERT_EQ(shared_of_endpoints(), held_count());
    if (held_count() >= vip_max) {
      ASSERT_FALSE(open(0, 1));
    }
    for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, free_);
    ASSERT_EQ(shared_of_vip(), 0u);
    ASSERT_EQ(shared_of_endpoints(), 0u);
  }
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) show(lcore, limited_);
  close_all();
  EXPECT_EQ(shared_of_vip(), 0u);
  EXPECT_EQ(shared_of_endpoints(), 0u);
}

// What an earlier process left counts before the first lcore takes its snapshot, on whichever lcore it goes on.
TEST_F(FlowLimitsTest, FlowsThatAreTakenOverCountFromTheStartOn) {
  const VipRow& vip = limited_->vips()[0];
  const EndpointRow& endpoint = limited_->endpoints()[0];
  constexpr std::uint32_t left_count = 12;
  Conntrack before(records_[0], {3, 4});
  for (std::uint32_t i = 0; i < left_count; ++i) {
    FlowOpening opening;
    opening.from_client = {*IpAddress::parse("198.51.100.7"), vip.address, be16(static_cast<std::uint16_t>(4'000 + i)), vip.port, protocol::tcp};
    opening.to_endpoint = {*IpAddress::parse("10.2.0.100"), endpoint.address, be16(static_cast<std::uint16_t>(2'000 + i * 5'000)), endpoint.port, protocol::tcp};
    opening.vip_id = static_cast<std::uint16_t>(vip.id);
    opening.endpoint_id = endpoint.id;
    ASSERT_NE(before.open(opening, Instant{1}), nullptr);
  }
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) worlds_[lcore]->flows = Conntrack(records_[lcore], {1, 2});
  ASSERT_EQ(take_over(*limited_, worlds_, true, {}), left_count);
  EXPECT_LT(worlds_[0]->flows.count(), left_count);  // some lie elsewhere now
  for (std::uint32_t lcore = 0; lcore < lcore_count; ++lcore) {
    EXPECT_EQ(shared_.vips[vip.id].flows.read(), left_count);
    EXPECT_EQ(shared_.endpoints[endpoint.id].read(), left_count);
    show(lcore, limited_);
  }
  for (std::uint32_t i = left_count; i < endpoint_max; ++i) EXPECT_TRUE(open(0, 0));
  EXPECT_EQ(held_[0], std::vector<std::uint32_t>(endpoint_max - left_count, endpoint.id));
  EXPECT_TRUE(open(0, 0));
  EXPECT_NE(held_[0].back(), endpoint.id);  // that one has all that it may
  close_all();
  for (const auto& world : worlds_) {
    world->flows.sweep(static_cast<std::uint32_t>(world->flows.capacity()), [](const FlowRecord&) { return true; },
                       [&](FlowRecord& record) { close_flow(*world, record); });
  }
  EXPECT_EQ(shared_of_vip(), 0u);
  EXPECT_EQ(shared_of_endpoints(), 0u);
}

}  // namespace
}  // namespace sluice::flow_limits_test
