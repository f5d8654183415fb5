// Settle against real buffers and real DPDK ports that are rings in memory: what was sent can be taken out and looked
// at, and a small ring is a port that is full.
#include "dataplane/lcore/settle.h"

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <cstring>

namespace sluice::settle_test {
namespace {

constexpr unsigned pool_count = 511;
constexpr std::uint16_t exception_ring = 2;

class SettleTest : public testing::Test {
 protected:
  void SetUp() override {
    static int number = 0;
    ++number;
    pool_ = rte_pktmbuf_pool_create(("pool" + std::to_string(number)).c_str(), pool_count, 0, 0,
                                    RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    ASSERT_NE(pool_, nullptr);
    for (int i = 0; i < 3; ++i) {
      const std::string name = "ring" + std::to_string(number) + "_" + std::to_string(i);
      tx_[i] = rte_ring_create(name.c_str(), 16, SOCKET_ID_ANY, 0);  // takes 15
      const int ethdev = rte_eth_from_ring(tx_[i]);
      ASSERT_GE(ethdev, 0);
      ethdev_[i] = static_cast<std::uint16_t>(ethdev);
      const rte_eth_conf conf{};
      ASSERT_EQ(rte_eth_dev_configure(ethdev_[i], 1, 1, &conf), 0);
      ASSERT_EQ(rte_eth_rx_queue_setup(ethdev_[i], 0, 16, SOCKET_ID_ANY, nullptr, pool_), 0);
      ASSERT_EQ(rte_eth_tx_queue_setup(ethdev_[i], 0, 16, SOCKET_ID_ANY, nullptr), 0);
      ASSERT_EQ(rte_eth_dev_start(ethdev_[i]), 0);
    }
    other_lcore_ = rte_ring_create(("handoff" + std::to_string(number)).c_str(), 8, SOCKET_ID_ANY,
                                   RING_F_SP_ENQ | RING_F_SC_DEQ);
    SettlePlan plan;
    plan.ports = {{ethdev_[0], 0, nullptr}, {ethdev_[1], 0, nullptr, &link_}};
    plan.exception = TxQueue{ethdev_[exception_ring], 0, nullptr};
    plan.rings = {nullptr, other_lcore_};
    plan.pool = pool_;
    settler_ = std::make_unique<Settler>(plan);
    settler_->bind({0, 1});
    world_ = std::make_unique<World>(Conntrack(records_, {1, 2}), 0, 2, shared_limits_);
  }

  void TearDown() override {
    for (int i = 0; i < 3; ++i) take_all(tx_[i]);
    take_all(other_lcore_);
    // Nothing leaks: every buffer that was not handed to somebody is back in the pool.
    EXPECT_EQ(rte_mempool_avail_count(pool_), pool_count);
    for (int i = 0; i < 3; ++i) {
      rte_eth_dev_stop(ethdev_[i]);
      rte_eth_dev_close(ethdev_[i]);
      rte_ring_free(tx_[i]);
    }
    rte_ring_free(other_lcore_);
    rte_mempool_free(pool_);
  }

  Packet& receive(Verdict verdict, std::uint16_t tx_port = 0) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    std::memset(rte_pktmbuf_append(mbuf, 100), 'x', 100);
    Packet& packet = burst_.add();
    packet.data = rte_pktmbuf_mtod(mbuf, std::byte*);
    packet.handle = mbuf;
    packet.bytes = 100;
    packet.verdict = verdict;
    packet.tx_port = tx_port;
    world_->counters.received.add(1);
    return packet;
  }

  unsigned take_all(rte_ring* ring) {
    unsigned count = 0;
    void* mbuf = nullptr;
    while (rte_ring_dequeue(ring, &mbuf) == 0) {
      last_bytes_ = rte_pktmbuf_pkt_len(static_cast<rte_mbuf*>(mbuf));
      last_hops_ = hops_of(*static_cast<rte_mbuf*>(mbuf));
      last_first_ = *rte_pktmbuf_mtod(static_cast<rte_mbuf*>(mbuf), char*);
      last_last_ = rte_pktmbuf_mtod(static_cast<rte_mbuf*>(mbuf), char*)[last_bytes_ - 1];
      rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
      ++count;
    }
    return count;
  }

  std::uint64_t count_of(Verdict verdict) const { return world_->counters.of(verdict).read(); }
  // As counters.h promises for one lcore.
  void expect_balance() const {
    const Counters& counters = world_->counters;
    std::uint64_t verdicts = 0, sent = counters.generated.read() + counters.of(Verdict::punt).read();
    for (std::size_t i = 0; i < verdict_count; ++i) {
      verdicts += counters.verdicts[i].read();
      if (is_sent(static_cast<Verdict>(i))) sent += counters.verdicts[i].read();
    }
    EXPECT_EQ(counters.received.read() + counters.handed_in.read() + counters.released.read(), verdicts);
    std::uint64_t out = settler_->sent().to_kernel.read();
    for (const Counter& counter : settler_->sent().by_slot) out += counter.read();
    EXPECT_EQ(out, sent);
  }

  std::vector<FlowRecord> records_ = std::vector<FlowRecord>(64);
  rte_mempool* pool_ = nullptr;
  rte_ring* tx_[3] = {};
  std::uint16_t ethdev_[3] = {};
  rte_ring* other_lcore_ = nullptr;
  LinkState link_;  // of port 1
  std::unique_ptr<Settler> settler_;
  SharedLimits shared_limits_{HashSecret{5, 6}};
  std::unique_ptr<World> world_;
  Burst burst_;
  std::uint32_t last_bytes_ = 0;
  std::uint8_t last_hops_ = 0;
  char last_first_ = 0, last_last_ = 0;
};

TEST_F(SettleTest, sends_each_packet_by_its_port_and_frees_drops) {
  receive(Verdict::forward, 0);
  receive(Verdict::forward, 1);
  receive(Verdict::reply, 1);
  receive(Verdict::drop_no_vip);
  receive(Verdict::absorb);
  settler_->settle(*world_, burst_);
  EXPECT_EQ(take_all(tx_[0]), 1u);
  EXPECT_EQ(take_all(tx_[1]), 2u);
  EXPECT_EQ(count_of(Verdict::forward), 2u);
  EXPECT_EQ(count_of(Verdict::drop_no_vip), 1u);
  EXPECT_EQ(burst_.count, 0u);
  expect_balance();
}

TEST_F(SettleTest, what_a_port_without_link_would_be_given_is_a_drop_of_its_name_and_the_next_burst_after_it_is_not) {
  const auto one_burst = [&] {
    for (int i = 0; i < 3; ++i) receive(Verdict::forward, 0);
    for (int i = 0; i < 5; ++i) receive(Verdict::forward, 1);
    world_->generated.add()->bytes = 42;
    world_->generated.items().back().tx_port = 1;
    settler_->settle(*world_, burst_);
    EXPECT_EQ(take_all(tx_[0]), 3u);
  };
  link_.is_down = true;
  one_burst();
  EXPECT_EQ(take_all(tx_[1]), 0u);
  EXPECT_EQ(count_of(Verdict::drop_link_down), 5u);
  EXPECT_EQ(world_->counters.own_refused.read(), 1u);
  EXPECT_EQ(settler_->sent().refused_by_slot[1].read(), 6u);
  expect_balance();
  link_.is_down = false;
  one_burst();
  EXPECT_EQ(take_all(tx_[1]), 6u);
  EXPECT_EQ(count_of(Verdict::drop_link_down), 5u);
  EXPECT_EQ(world_->counters.own_refused.read(), 1u);
  expect_balance();
}

// What is cut off a packet lies in that packet, which is gone when it is sent: rather no frame than one of other bytes.
TEST_F(SettleTest, frames_of_our_own_may_show_a_part_of_a_packet_that_is_dropped) {
  const auto one_burst = [&](bool is_pool_empty) {  // but for the packet's own buffer, when that is freed
    Packet& packet = receive(Verdict::drop_no_vip);
    std::memset(packet.data, 'y', packet.bytes);
    GeneratedFrame& frame = *world_->generated.add();
    frame.bytes = 60;
    std::memset(frame.data.data(), 'z', frame.bytes);
    frame.tail = {packet.data, 50};
    frame.tx_port = 1;
    std::vector<rte_mbuf*> others;
    while (is_pool_empty && rte_mempool_avail_count(pool_) > 0) others.push_back(rte_pktmbuf_alloc(pool_));
    settler_->settle(*world_, burst_);
    rte_pktmbuf_free_bulk(others.data(), static_cast<unsigned>(others.size()));
    expect_balance();
  };
  one_burst(false);
  EXPECT_EQ(take_all(tx_[1]), 1u);
  EXPECT_EQ(last_bytes_, 110u);
  EXPECT_EQ(last_first_, 'z');
  EXPECT_EQ(last_last_, 'y');
  one_burst(true);
  EXPECT_EQ(take_all(tx_[1]), 0u);
  EXPECT_EQ(world_->counters.own_no_buffer.read(), 1u);
}

TEST_F(SettleTest, what_a_full_port_does_not_take_is_a_drop_and_not_a_forward) {
  for (int i = 0; i < 20; ++i) receive(Verdict::forward, 1);
  settler_->settle(*world_, burst_);
  EXPECT_EQ(count_of(Verdict::forward), 15u);
  EXPECT_EQ(count_of(Verdict::drop_tx_full), 5u);
  EXPECT_EQ(settler_->sent().refused_by_slot[1].read(), 5u);
  expect_balance();
}

TEST_F(SettleTest, a_port_that_needs_a_restart_to_appear_takes_nothing) {
  settler_->bind({std::nullopt, 1});
  receive(Verdict::forward, 0);
  settler_->settle(*world_, burst_);
  EXPECT_EQ(count_of(Verdict::drop_tx_full), 1u);
  expect_balance();
}

TEST_F(SettleTest, the_frame_leaves_with_the_start_and_length_that_the_pipeline_gave_it) {
  Packet& packet = receive(Verdict::forward, 0);
  packet.data -= 20;  // an IPv6 header in the place of an IPv4 one
  packet.data[0] = std::byte{'y'};
  packet.bytes = 80;
  settler_->settle(*world_, burst_);
  EXPECT_EQ(take_all(tx_[0]), 1u);
  EXPECT_EQ(last_bytes_, 80u);
  EXPECT_EQ(last_first_, 'y');
}

TEST_F(SettleTest, punts_and_names_what_the_kernel_does_not_take) {
  for (int i = 0; i < 17; ++i) receive(Verdict::punt);
  settler_->settle(*world_, burst_);
  EXPECT_EQ(take_all(tx_[exception_ring]), 15u);
  EXPECT_EQ(count_of(Verdict::punt), 15u);
  EXPECT_EQ(count_of(Verdict::drop_exception_full), 2u);
  EXPECT_EQ(settler_->sent().to_kernel.read(), 15u);
  expect_balance();
}

TEST_F(SettleTest, hands_packets_to_the_owner_until_its_ring_is_full) {
  for (int i = 0; i < 10; ++i) {
    Packet& packet = receive(Verdict::handoff);
    packet.target_lcore = 1;
    packet.hops = 1;
  }
  settler_->settle(*world_, burst_);
  EXPECT_EQ(settler_->in_rings(), 7u);
  EXPECT_EQ(take_all(other_lcore_), 7u);
  EXPECT_EQ(last_hops_, 2);
  EXPECT_EQ(count_of(Verdict::handoff), 7u);
  EXPECT_EQ(count_of(Verdict::drop_handoff_full), 3u);
  expect_balance();
}

TEST_F(SettleTest, shares_what_every_lcore_must_learn_by_copy) {
  receive(Verdict::absorb).is_shared = true;
  receive(Verdict::drop_arp_not_ours).is_shared = true;
  settler_->settle(*world_, burst_);
  EXPECT_EQ(world_->counters.copied.read(), 2u);
  EXPECT_EQ(take_all(other_lcore_), 2u);
  EXPECT_EQ(last_hops_, 1);
  EXPECT_EQ(last_bytes_, 100u);
  expect_balance();
}

TEST_F(SettleTest, a_held_packet_stays_alive_until_it_is_released) {
  Packet& packet = receive(Verdict::hold, 1);
  packet.bytes = 90;
  void* handle = packet.handle;
  settler_->settle(*world_, burst_);
  EXPECT_EQ(rte_mempool_avail_count(pool_), pool_count - 1);
  EXPECT_EQ(count_of(Verdict::hold), 1u);
  expect_balance();

  *world_->released.add() = {handle, 90, 1, Verdict::forward};
  settler_->settle(*world_, burst_);
  EXPECT_EQ(take_all(tx_[1]), 1u);
  EXPECT_EQ(last_bytes_, 90u);
  EXPECT_EQ(world_->counters.released.read(), 1u);
  EXPECT_EQ(count_of(Verdict::forward), 1u);
  EXPECT_EQ(world_->released.items().size(), 0u);
  expect_balance();
}

TEST_F(SettleTest, a_packet_may_be_held_and_released_in_one_burst) {
  Packet& packet = receive(Verdict::hold, 1);
  packet.bytes = 60;
  *world_->released.add() = {packet.handle, 60, 1, Verdict::forward};
  settler_->settle(*world_, burst_);
  EXPECT_EQ(take_all(tx_[1]), 1u);
  EXPECT_EQ(last_bytes_, 60u);
  expect_balance();
}

TEST_F(SettleTest, a_packet_that_waited_in_vain_is_freed_and_named) {
  void* handle = receive(Verdict::hold, 1).handle;
  settler_->settle(*world_, burst_);
  *world_->released.add() = {handle, 100, 0, Verdict::drop_neighbor_unresolved};
  settler_->settle(*world_, burst_);
  EXPECT_EQ(count_of(Verdict::drop_neighbor_unresolved), 1u);
  expect_balance();
}

TEST_F(SettleTest, generated_frames_count_when_they_are_sent) {
  for (int i = 0; i < 20; ++i) {
    GeneratedFrame* frame = world_->generated.add();
    frame->bytes = 42;
    frame->tx_port = 0;
    frame->data[0] = std::byte{'a'};
  }
  settler_->settle(*world_, burst_);
  EXPECT_EQ(world_->counters.generated.read(), 15u);
  EXPECT_EQ(world_->counters.own_refused.read(), 5u);
  EXPECT_EQ(take_all(tx_[0]), 15u);
  EXPECT_EQ(last_bytes_, 42u);
  EXPECT_EQ(last_first_, 'a');
  EXPECT_EQ(world_->generated.room(), 128u);
  expect_balance();
}

// OV-05: buffers used up, a ring that is full, a transmit queue that is stuck. Each loss has a name, each fault ends with its
// cause, in the next burst, and no buffer is lost (TearDown).
TEST_F(SettleTest, buffers_that_are_used_up_cost_frames_of_our_own_by_name_and_come_back) {
  std::vector<rte_mbuf*> others(pool_count - 20);
  for (int round = 0; round < 100; ++round) {
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, others.data(), pool_count - 20), 0);
    // The last twenty came with packets. Nothing can be made or copied, what was received still goes its way.
    for (int i = 0; i < 10; ++i) receive(Verdict::forward, 1);
    for (int i = 0; i < 9; ++i) receive(Verdict::drop_no_vip);
    receive(Verdict::absorb).is_shared = true;
    for (int i = 0; i < 3; ++i) {
      GeneratedFrame* frame = world_->generated.add();
      frame->bytes = 42;
    }
    const std::uint64_t lost = world_->counters.own_no_buffer.read();
    // The copy for the other lcore, and of our own frames all that find no buffer: those of the drops are free again by then.
    std::vector<rte_mbuf*> freed(9);
    settler_->settle(*world_, burst_);
    EXPECT_EQ(world_->counters.own_no_buffer.read(), lost + 1);
    EXPECT_EQ(take_all(tx_[1]), 10u);
    EXPECT_EQ(take_all(tx_[0]), 3u);
    EXPECT_EQ(take_all(other_lcore_), 0u);

    // None at all.
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, freed.data(), 9), 0);
    std::vector<rte_mbuf*> rest(11);
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, rest.data(), 11), 0);
    for (int i = 0; i < 3; ++i) world_->generated.add()->bytes = 42;
    settler_->settle(*world_, burst_);
    EXPECT_EQ(world_->counters.own_no_buffer.read(), lost + 4);

    // One burst after the buffers are back all is as before.
    for (auto* all : {&others, &freed, &rest}) rte_pktmbuf_free_bulk(all->data(), static_cast<unsigned>(all->size()));
    receive(Verdict::absorb).is_shared = true;
    world_->generated.add()->bytes = 42;
    settler_->settle(*world_, burst_);
    EXPECT_EQ(take_all(tx_[0]), 1u);
    EXPECT_EQ(take_all(other_lcore_), 1u);
    EXPECT_EQ(world_->counters.own_no_buffer.read(), lost + 4);
    expect_balance();
  }
}

TEST_F(SettleTest, a_transmit_queue_and_a_ring_that_are_stuck_take_from_nobody_else_and_recover_at_once) {
  const auto one_burst = [&] {
    for (int i = 0; i < 10; ++i) receive(Verdict::forward, 1);
    for (int i = 0; i < 10; ++i) receive(Verdict::forward, 0);
    for (int i = 0; i < 5; ++i) receive(Verdict::handoff).target_lcore = 1;
    receive(Verdict::absorb).is_shared = true;
    world_->generated.add()->bytes = 42;
    world_->generated.items().back().tx_port = 1;
    settler_->settle(*world_, burst_);
  };
  // Nobody takes out of port 1 and out of the other lcore's ring: 15 and 7 places.
  for (int burst = 0; burst < 1'000; ++burst) {
    one_burst();
    EXPECT_EQ(take_all(tx_[0]), 10u) << "the other port goes on";
  }
  const std::uint64_t copies_refused = 1'000u - world_->counters.copied.read();
  const std::uint64_t own_refused = world_->counters.own_refused.read() - copies_refused;
  EXPECT_EQ(own_refused + world_->counters.generated.read(), 1'000u);
  EXPECT_EQ(count_of(Verdict::drop_tx_full) + own_refused, 11'000u - 15u);
  EXPECT_EQ(settler_->sent().refused_by_slot[1].read(), 11'000u - 15u);
  EXPECT_EQ(count_of(Verdict::handoff) + world_->counters.copied.read(), 7u);
  EXPECT_EQ(count_of(Verdict::drop_handoff_full), 5'000u - count_of(Verdict::handoff));
  expect_balance();
  // They move again: nothing of the next burst is lost.
  take_all(tx_[1]);
  take_all(other_lcore_);
  const std::uint64_t full = count_of(Verdict::drop_tx_full), refused = world_->counters.own_refused.read();
  const std::uint64_t handoff_full = count_of(Verdict::drop_handoff_full);
  one_burst();
  EXPECT_EQ(take_all(tx_[1]), 11u);
  EXPECT_EQ(take_all(other_lcore_), 6u);
  EXPECT_EQ(count_of(Verdict::drop_tx_full), full);
  EXPECT_EQ(count_of(Verdict::drop_handoff_full), handoff_full);
  EXPECT_EQ(world_->counters.own_refused.read(), refused);
  expect_balance();
}

}  // namespace
}  // namespace sluice::settle_test
