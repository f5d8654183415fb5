// The generator against itself through rings, with a device between that does what the test says.
#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <thread>

#include "perf/common/port.h"
#include "perf/pktgen/generator.h"

namespace sluice::perf::loop_test {
namespace {

constexpr MacAddress clients_mac{{2, 0, 0, 0, 0, 1}}, device_mac{{2, 0, 0, 0, 0, 2}},
    endpoints_mac{{2, 0, 0, 0, 0, 3}};
constexpr unsigned ring_count = 16'384;

rte_mempool* pool() {
  static rte_mempool* pool =
      rte_pktmbuf_pool_create("loop", 16'383, 256, 0, 9'216 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  return pool;
}

// What the device does to the n-th packet toward the endpoints, or back: keep, or lose, or hold
// back one.
enum class Fate { pass, lose, hold, spoil };
using Device = std::function<Fate(std::uint64_t n, bool is_reply)>;

class Loop : public testing::Test {
 protected:
  void SetUp() override {
    static int number = 0;
    ++number;
    for (int i = 0; i < 4; ++i) {
      const std::string name = "loop_" + std::to_string(number) + "_" + std::to_string(i);
      rings_[i] =
          rte_ring_create(name.c_str(), ring_count, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
      ASSERT_NE(rings_[i], nullptr);
    }
    ports_.clients = open("clients" + std::to_string(number), rings_[0], rings_[1]);
    ports_.endpoints = open("endpoints" + std::to_string(number), rings_[2], rings_[3]);
    ports_.clients_mac = clients_mac;
    ports_.endpoints_mac = endpoints_mac;
    ports_.pool = pool();
  }
  void TearDown() override {
    is_over_ = true;
    if (device_.joinable()) device_.join();
    generator_.reset();
    for (rte_ring* ring : rings_) {
      void* mbuf = nullptr;
      while (rte_ring_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
    }
    close_port(ports_.clients);
    close_port(*ports_.endpoints);
    for (rte_ring* ring : rings_) rte_ring_free(ring);
    EXPECT_EQ(rte_mempool_in_use_count(pool()), 0u) << "every buffer is free again";
  }

  static std::uint16_t open(const std::string& name, rte_ring* receive, rte_ring* send) {
    const int port = rte_eth_from_rings(name.c_str(), &receive, 1, &send, 1, SOCKET_ID_ANY);
    rte_eth_conf conf{};
    EXPECT_GE(port, 0);
    const auto id = static_cast<std::uint16_t>(port);
    EXPECT_EQ(rte_eth_dev_configure(id, 1, 1, &conf), 0);
    EXPECT_EQ(rte_eth_rx_queue_setup(id, 0, 512, SOCKET_ID_ANY, nullptr, pool()), 0);
    EXPECT_EQ(rte_eth_tx_queue_setup(id, 0, 512, SOCKET_ID_ANY, nullptr), 0);
    EXPECT_EQ(rte_eth_dev_start(id), 0);
    return id;
  }

  void start(const Traffic& traffic, const Device& device) {
    auto made = Generator::create(traffic, ports_);
    ASSERT_TRUE(made) << made.error().message;
    generator_ = std::move(*made);
    generator_->set_gateway(device_mac);
    device_ = std::thread([this, device] {
      rte_mbuf* held[2] = {nullptr, nullptr};
      std::uint64_t seen[2] = {0, 0};
      while (!is_over_) {
        bool is_idle = true;
        for (const int way : {0, 1}) {
          void* object = nullptr;
          if (rte_ring_dequeue(rings_[way == 0 ? 1 : 3], &object) != 0) continue;
          is_idle = false;
          auto* mbuf = static_cast<rte_mbuf*>(object);
          rte_ring* to = rings_[way == 0 ? 2 : 0];
          switch (device(seen[way]++, way == 1)) {
            case Fate::pass:
              rte_ring_enqueue(to, mbuf);
              break;
            case Fate::lose:
              rte_pktmbuf_free(mbuf);
              continue;
            case Fate::hold:
              held[way] = mbuf;
              continue;
            case Fate::spoil:
              // The last byte of the payload, which no header field covers.
              *rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, mbuf->data_len - 1) ^= 1;
              rte_ring_enqueue(to, mbuf);
              break;
          }
          if (held[way] != nullptr) rte_ring_enqueue(to, held[way]);
          held[way] = nullptr;
        }
        if (is_idle) std::this_thread::yield();
      }
      for (rte_mbuf* mbuf : held) rte_pktmbuf_free(mbuf);
    });
  }

  // Sends until so many requests have gone, whatever time it takes on a busy machine, and waits for
  // the last to be back.
  CountsSeen send(std::uint64_t requests) {
    const CountsSeen before = generator_->counts().read();
    generator_->begin_measuring();
    for (int i = 0; i < 2'000; ++i) {
      generator_->run(50'000, 0.01);
      if ((generator_->counts().read() - before)[Count::requests] >= requests) break;
    }
    generator_->settle(0.2, 20);
    return generator_->counts().read() - before;
  }

  static Traffic traffic(Kind kind,
                         std::vector<std::string> vips = {"10.9.0.1:80", "[fd00::1]:443"}) {
    Traffic result;
    result.kind = kind;
    for (const std::string& vip : vips) result.vips.push_back(*parse_address_port(vip));
    result.clients = {
        *parse_address_range("198.18.0.1+20"), *parse_address_range("2001:2::1+20"), {}};
    result.flows = 200;
    result.verifies = true;
    result.timeout_seconds = 5;
    result.sizes = *parse_sizes("imix");
    return result;
  }

  rte_ring* rings_[4]{};
  GeneratorPorts ports_;
  std::unique_ptr<Generator> generator_;
  std::thread device_;
  std::atomic<bool> is_over_{false};
};

const Device passes = [](std::uint64_t, bool) { return Fate::pass; };

TEST_F(Loop, UdpOfBothFamiliesComesBackWhole) {
  start(traffic(Kind::udp), passes);
  const CountsSeen seen = send(5'000);
  EXPECT_EQ(seen[Count::answers], seen[Count::requests]);
  EXPECT_EQ(seen[Count::reflected], seen[Count::requests]);
  EXPECT_EQ(seen[Count::received_bytes], seen[Count::sent_bytes]);
  EXPECT_EQ(seen[Count::reordered], 0u);
  EXPECT_EQ(seen.lost(), 0u);
  EXPECT_EQ(seen.broken(), 0u);
  EXPECT_EQ(generator_->latency_ns().total(), seen[Count::answers]);
  const FlowLosses losses = generator_->flow_losses();
  EXPECT_EQ(losses.flows_with_loss, 0u);
  EXPECT_EQ(losses.twice, 0u);
}

TEST_F(Loop, TcpFlowsAreOpenedFirst) {
  Traffic tcp = traffic(Kind::tcp);
  tcp.sizes = *parse_sizes("84,9000");
  start(tcp, passes);
  EXPECT_EQ(generator_->open_flows(20'000, 20), 200u);
  const CountsSeen seen = send(2'000);
  EXPECT_EQ(seen[Count::answers], seen[Count::requests]);
  EXPECT_EQ(seen.broken(), 0u);
  EXPECT_EQ(seen[Count::strays], 0u);
}

TEST_F(Loop, ALostSynIsSentAgain) {
  Traffic tcp = traffic(Kind::tcp);
  tcp.timeout_seconds = 0.05;
  start(tcp, [](std::uint64_t n, bool is_reply) {
    return !is_reply && n < 20 ? Fate::lose : Fate::pass;
  });
  EXPECT_EQ(generator_->open_flows(20'000, 20), 200u);
  EXPECT_GE(generator_->counts().read()[Count::retries], 20u);
}

TEST_F(Loop, ConnectionsOpenExchangeAndClose) {
  Traffic connections = traffic(Kind::connections);
  connections.exchanges = 2;
  start(connections, passes);
  const CountsSeen seen = send(4'000);
  EXPECT_EQ(seen[Count::closed], seen[Count::opened]);
  EXPECT_EQ(seen[Count::requests], 2 * seen[Count::opened]);
  EXPECT_EQ(seen[Count::answers], seen[Count::requests]);
  // SYN, ACK, two requests and their ACKs, FIN, ACK
  EXPECT_EQ(seen[Count::sent], 8 * seen[Count::opened]);
  EXPECT_EQ(seen[Count::timed_out] + seen[Count::resets] + seen[Count::strays], 0u);
  EXPECT_EQ(seen.broken(), 0u);
}

TEST_F(Loop, ConnectionsThatLoseAPacketAreGivenUpAndOthersGoOn) {
  Traffic connections = traffic(Kind::connections);
  connections.timeout_seconds = 0.3;
  start(connections, [](std::uint64_t n, bool is_reply) {
    return is_reply && n % 100 == 99 ? Fate::lose : Fate::pass;
  });
  CountsSeen seen;
  for (int i = 0; i < 2'000; ++i) {  // until the first timeout, and some more connections
    generator_->run(50'000, 0.01);
    seen = generator_->counts().read();
    if (seen[Count::timed_out] > 0 && seen[Count::closed] > 1'000) break;
  }
  EXPECT_GT(seen[Count::timed_out], 0u);
  EXPECT_GT(seen[Count::closed], 1'000u);
  EXPECT_EQ(seen.broken(), 0u);
}

TEST_F(Loop, SynsAreOfEverNewConnections) {
  start(traffic(Kind::syn), passes);
  const CountsSeen seen = send(3'000);
  EXPECT_EQ(seen[Count::answers], seen[Count::requests]);
  EXPECT_EQ(generator_->handshake_ns().total(), seen[Count::answers]);
}

TEST_F(Loop, ChurnReplacesFlowsAndLosesNone) {
  Traffic churn = traffic(Kind::tcp);
  churn.distribution = {Distribution::Kind::churn, 0, 5'000};
  start(churn, passes);
  EXPECT_EQ(generator_->open_flows(20'000, 20), 200u);
  const CountsSeen seen = send(3'000);
  EXPECT_GT(seen[Count::opened], 0u);
  EXPECT_EQ(seen.lost(), 0u);
  EXPECT_EQ(seen.broken(), 0u);
}

TEST_F(Loop, LossIsCountedByFlow) {
  start(traffic(Kind::udp), [](std::uint64_t n, bool is_reply) {
    return !is_reply && n % 50 == 7 ? Fate::lose : Fate::pass;
  });
  const CountsSeen seen = send(5'000);
  EXPECT_EQ(seen.lost(), (seen[Count::requests] + 42) / 50);
  const FlowLosses losses = generator_->flow_losses();
  EXPECT_GT(losses.flows_with_loss, 0u);
  EXPECT_LE(losses.flows_with_loss, seen.lost());
  EXPECT_GT(losses.worst_loss, 0u);
  EXPECT_EQ(seen.broken(), 0u);
}

TEST_F(Loop, ReorderingIsCounted) {
  Traffic one_flow = traffic(Kind::udp);
  one_flow.flows = 1;
  // Every hundredth is held until the next has passed.
  start(one_flow, [](std::uint64_t n, bool is_reply) {
    return !is_reply && n % 100 == 0 ? Fate::hold : Fate::pass;
  });
  const CountsSeen seen = send(5'000);
  EXPECT_NEAR(static_cast<double>(seen[Count::reordered]),
              static_cast<double>(seen[Count::requests]) / 100, 1.01);
  EXPECT_EQ(generator_->flow_losses().flows_reordered, 1u);
  EXPECT_EQ(seen.broken(), 0u);
}

TEST_F(Loop, ASpoiltPayloadIsSeenByWhoeverGetsIt) {
  Traffic large = traffic(Kind::udp, {"10.9.0.1:80"});
  large.sizes = *parse_sizes("512");
  start(large, [](std::uint64_t n, bool is_reply) {
    return n % 10 == (is_reply ? 3 : 6) ? Fate::spoil : Fate::pass;
  });
  const CountsSeen seen = send(1'000);
  // One of ten at the endpoints, one of ten of what they send back.
  EXPECT_GT(seen[Count::bad_checksum], seen[Count::requests] / 6);
  EXPECT_EQ(seen[Count::answers] + seen[Count::bad_checksum], seen[Count::requests]);
}

TEST_F(Loop, PrebuiltFramesGoBothWays) {
  Traffic prebuilt = traffic(Kind::tcp, {"10.9.0.1:80", "10.9.0.2:80"});
  prebuilt.sizes = *parse_sizes("512");
  prebuilt.timeout_seconds = 0.05;
  prebuilt.is_prebuilt = true;
  // Of each direction one packet in 1,000 is lost; so are some while the frames are learned.
  start(prebuilt, [](std::uint64_t n, bool) { return n % 1'000 == 50 ? Fate::lose : Fate::pass; });
  EXPECT_EQ(generator_->open_flows(20'000, 20), 200u);
  EXPECT_EQ(generator_->prebuild(20), 200u);
  const CountsSeen seen = send(10'000);
  EXPECT_EQ(seen[Count::received], seen[Count::answers]);
  EXPECT_NEAR(static_cast<double>(seen.lost()), static_cast<double>(seen[Count::requests]) / 1'000,
              2.01);
  EXPECT_EQ(seen[Count::reflected], 0u) << "both directions are sent";
  EXPECT_EQ(seen.broken(), 0u);
  EXPECT_EQ(seen[Count::sent_bytes], 512 * seen[Count::sent]);
}

TEST_F(Loop, PrebuiltFramesAreLookedAtNowAndThen) {
  Traffic prebuilt = traffic(Kind::udp, {"10.9.0.1:80"});
  prebuilt.sizes = *parse_sizes("512");
  prebuilt.is_prebuilt = true;
  start(prebuilt, [](std::uint64_t n, bool) { return n > 1'000 ? Fate::spoil : Fate::pass; });
  EXPECT_EQ(generator_->prebuild(20), 200u);
  EXPECT_GT(send(10'000)[Count::bad_checksum], 50u);
}

TEST_F(Loop, APacketToNoEndpointIsBroken) {
  Traffic udp = traffic(Kind::udp, {"10.9.0.1:80"});
  udp.endpoints = *parse_address_range("10.2.0.1+3");  // the device leaves 10.9.0.1
  start(udp, passes);
  const CountsSeen seen = send(500);
  EXPECT_EQ(seen[Count::wrong_endpoint], seen[Count::requests]);
  EXPECT_EQ(seen.broken(), seen[Count::requests]);
}

TEST_F(Loop, TheGatewayIsAskedForItsMac) {
  start(traffic(Kind::udp), passes);
  // The endpoints' port answers for every address but the VIPs.
  EXPECT_TRUE(generator_->find_gateway(*IpAddress::parse("198.18.0.254"), 20));
  EXPECT_TRUE(generator_->find_gateway(*IpAddress::parse("2001:2::fe"), 20));
  EXPECT_FALSE(generator_->find_gateway(*IpAddress::parse("10.9.0.1"), 0.3));
  EXPECT_EQ(generator_->counts().read().broken(), 0u);
}

}  // namespace
}  // namespace sluice::perf::loop_test
