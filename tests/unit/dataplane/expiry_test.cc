// Expiry looks at each record once in a round of two seconds, however large the table and however busy the lcore.
#include <gtest/gtest.h>

#include <vector>

#include "dataplane/pipeline/process_burst.h"
#include "dataplane/tables/snapshot_writer.h"

namespace sluice::expiry_test {
namespace {

constexpr std::uint32_t round_ms = 2'000;

class Expiry : public testing::TestWithParam<std::uint32_t> {
 protected:
  Expiry() : records_(GetParam()), world_(Conntrack(records_, {1, 2}), 0, 1, shared_limits_) {
    SnapshotWriter writer;
    writer.node.worker_count = 1;
    writer.node.flow_capacity = GetParam();
    buffer_ = std::move(*writer.finish(1));
    tables_ = *Snapshot::verify(buffer_->bytes());
    world_.tables = &*tables_;
    world_.now = world_.swept = Instant{1'000};
    FlowOpening opening;  // due as soon as time passes
    opening.state = FlowState::one_way;
    opening.from_client.protocol = opening.to_endpoint.protocol = protocol::udp;
    opening.from_client.destination = opening.to_endpoint.destination = *IpAddress::parse("10.9.0.1");
    for (std::uint32_t i = 0; i < GetParam(); ++i) {
      opening.from_client.source = opening.to_endpoint.source = IpAddress::v4(be32(0x0b000000 + i));
      world_.flows.open(opening, world_.now);
    }
  }

  void pass(std::uint32_t ms, int bursts_per_ms) {
    for (std::uint32_t i = 0; i < ms; ++i) {
      world_.now = world_.now + Milliseconds{1};
      for (int burst = 0; burst < bursts_per_ms; ++burst) maintain(world_);
    }
  }
  std::size_t closed() const { return GetParam() - world_.flows.count(); }

  std::vector<FlowRecord> records_;
  std::optional<SnapshotBuffer> buffer_;
  std::optional<Snapshot> tables_;
  SharedLimits shared_limits_{HashSecret{5, 6}};
  World world_;
};

TEST_P(Expiry, PaysWhatItOwesAndNoMore) {
  pass(100, 50);
  EXPECT_EQ(closed(), std::size_t{GetParam()} * 100 / round_ms);
}

TEST_P(Expiry, OwesOnWhatABusyLcoreCouldNotPay) {
  pass(100, 1);
  EXPECT_LE(closed(), 100u * 256) << "the work of one call is bounded";
  for (int burst = 0; burst < 100; ++burst) maintain(world_);
  EXPECT_EQ(closed(), std::size_t{GetParam()} * 100 / round_ms);
}

TEST_P(Expiry, OwesAtMostOneRound) {
  world_.now = world_.now + Milliseconds{3'600'000};
  for (std::uint32_t records = 0; records < GetParam(); records += 256) maintain(world_);
  EXPECT_EQ(world_.flows.count(), 0u);
  EXPECT_EQ(world_.sweep_debt, 0u);
}

INSTANTIATE_TEST_SUITE_P(Tables, Expiry, testing::Values(3'000u, 600'000u));

}  // namespace
}  // namespace sluice::expiry_test
