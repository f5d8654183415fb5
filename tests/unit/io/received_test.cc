// What drivers may say of a packet: lies are named, nothing of the packet is looked at, and no buffer is lost.
#include "dataplane/lcore/received.h"

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <cstring>

#include "dataplane/pipeline/process_burst.h"
#include "dataplane/pipeline/world.h"

namespace sluice::received_test {
namespace {

constexpr unsigned pool_count = 63;

struct Lie {
  const char* name;
  Verdict verdict;
  void (*tell)(rte_mbuf& mbuf, rte_mbuf& other);
};

class Received : public testing::TestWithParam<Lie> {
 protected:
  void SetUp() override {
    pool_ = rte_pktmbuf_pool_create("received", pool_count, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    ASSERT_NE(pool_, nullptr);
  }
  void TearDown() override {
    EXPECT_EQ(rte_mempool_avail_count(pool_), pool_count);
    rte_mempool_free(pool_);
  }
  rte_mempool* pool_ = nullptr;
};

TEST_P(Received, HasItsVerdict) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  rte_mbuf* other = rte_pktmbuf_alloc(pool_);
  rte_pktmbuf_append(mbuf, 60);
  std::memset(rte_pktmbuf_mtod(mbuf, void*), 0, 60);
  GetParam().tell(*mbuf, *other);
  std::vector<FlowRecord> records(4);
  SharedLimits shared_limits(HashSecret{5, 6});
  World world(Conntrack(records, {1, 2}), 0, 1, shared_limits);
  Burst burst;
  add_received(burst, *mbuf, 0, 0);
  process_burst(world, burst);
  EXPECT_EQ(burst.packets[0].verdict, GetParam().verdict) << name_of(burst.packets[0].verdict);
  if (mbuf->next == nullptr) rte_pktmbuf_free(other);
  rte_pktmbuf_free(mbuf);
}

const Lie lies[] = {
    {"empty", Verdict::drop_frame_truncated, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.pkt_len = mbuf.data_len = 0; }},
    {"no_data_in_a_packet", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.data_len = 0; }},
    {"longer_than_its_data", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.pkt_len = 1'400; }},
    {"shorter_than_its_data", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.pkt_len = 20; }},
    {"beyond_its_buffer", Verdict::drop_descriptor_invalid,
     [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.pkt_len = mbuf.data_len = 9'000; }},
    {"begins_behind_its_buffer", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.data_off = 65'000; }},
    {"no_segments", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.nb_segs = 0; }},
    {"a_second_that_is_not_there", Verdict::drop_descriptor_invalid, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.nb_segs = 2; }},
    {"two_buffers", Verdict::drop_segmented,
     [](rte_mbuf& mbuf, rte_mbuf& other) {
       rte_pktmbuf_append(&other, 60);
       rte_pktmbuf_chain(&mbuf, &other);
     }},
    // Offload flags are not believed, whatever they are: the bytes decide.
    {"hostile_flags", Verdict::drop_ether_type_unknown, [](rte_mbuf& mbuf, rte_mbuf&) { mbuf.ol_flags = ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL); }},
};

INSTANTIATE_TEST_SUITE_P(Lies, Received, testing::ValuesIn(lies), [](const auto& given) { return given.param.name; });

}  // namespace
}  // namespace sluice::received_test
