#include "dataplane/tables/snapshot.h"

#include <fmt/core.h>

#include <cstring>

#include "dataplane/base/crc32c.h"
#include "dataplane/tables/snapshot_writer.h"
#include "tests/traces/model.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::snapshot_test {
namespace {

using trace::Words;

trace::Model usual_model() {
  trace::Model model;
  for (const Words& words : std::vector<Words>{
           {"lcores", "2"},
           {"cluster", "web", "{", "endpoint", "10.2.0.11:8080", "weight", "2", ";", "endpoint", "10.2.0.12:8080", "}"},
           {"cluster", "dns", "{", "endpoint", "[fd00:2::11]:53", ";", "forwarding", "nat", ";", "choice", "hash", "}"},
           {"vip", "10.9.0.1:80/tcp", "{", "cluster", "web", "}"},
           {"vip", "[fd00:9::1]:53/udp", "{", "cluster", "dns", "}"}}) {
    EXPECT_TRUE(model.change(words));
  }
  return model;
}

SnapshotBuffer usual() {
  auto buffer = usual_model().compile();
  EXPECT_TRUE(buffer) << buffer.error().message;
  return std::move(*buffer);
}

void seal(SnapshotBuffer& buffer) {
  auto& header = *reinterpret_cast<SnapshotHeader*>(buffer.bytes().data());
  header.crc = 0;
  header.crc = crc32c(std::span<const std::byte>(buffer.bytes()).subspan(sizeof header), crc32c(std::as_bytes(std::span(&header, 1))));
}

// Everything a lookup may be asked, so that a wrong index is noticed by the sanitizers.
void use(const Snapshot& tables) {
  std::uint64_t sum = tables.generation() + tables.node().worker_count;
  for (const VipRow& vip : tables.vips()) {
    sum += tables.find_vip(vip.address, vip.port, vip.protocol) == &vip;
    sum += tables.name(vip.name).size() + tables.name(vip.virtual_host).size();
    const ClusterRow& cluster = tables.clusters()[vip.cluster];
    for (const std::uint16_t slot : tables.slots_of(cluster)) sum += tables.endpoints_of(cluster)[slot].id;
    if (cluster.forwarding == Forwarding::full_nat) sum += tables.snat_pools()[cluster.snat_pool].port_first;
  }
  for (const char* text : {"10.9.0.1", "10.2.0.100", "10.1.0.1", "192.0.2.1", "fd00:9::1", "fd00:2::100"}) {
    const IpAddress address = *IpAddress::parse(text);
    const OwnAddress row = tables.find_address(address);
    if (row.kind == AddressKind::snat) sum += tables.snat_pools()[row.index].port_last;
    if (row.kind == AddressKind::own) sum += tables.addresses()[row.index].port;
    sum += tables.answers_for(address, 1) + tables.is_return_source(address, be16(53), 17);
    if (const RouteRow* route = tables.find_route(address)) sum += tables.ports()[route->port].mtu;
    if (const AddressRow* own = tables.source_for(address, 0)) sum += own->prefix_length;
    sum += tables.find_vip(address, be16(80), 6) != nullptr;
  }
  for (std::uint32_t id = 0; id < 8; ++id) sum += (tables.vip_by_id(id) != nullptr) + (tables.endpoint_by_id(id) != nullptr);
  asm volatile("" : : "r"(sum));  // computed, whether anybody wants it or not
}

TEST(Snapshot, ReadsBackWhatWasWritten) {
  const SnapshotBuffer buffer = usual();
  const auto tables = Snapshot::verify(buffer.bytes());
  ASSERT_TRUE(tables) << tables.error().message;
  use(*tables);
  const VipRow* vip = tables->find_vip(*IpAddress::parse("10.9.0.1"), be16(80), 6);
  ASSERT_NE(vip, nullptr);
  EXPECT_EQ(tables->name(vip->name), "10.9.0.1:80/tcp");
  EXPECT_EQ(tables->find_vip(*IpAddress::parse("10.9.0.1"), be16(80), 17), nullptr);
  EXPECT_EQ(tables->find_vip(*IpAddress::parse("10.9.0.1"), be16(81), 6), nullptr);
  EXPECT_EQ(tables->slots_of(tables->clusters()[vip->cluster]).size(), 3u);
  EXPECT_EQ(tables->find_address(*IpAddress::parse("10.9.0.1")).kind, AddressKind::vip);
  EXPECT_EQ(tables->find_address(*IpAddress::parse("fd00:2::100")).kind, AddressKind::snat);
  EXPECT_EQ(tables->find_address(*IpAddress::parse("10.1.0.1")).kind, AddressKind::own);
  EXPECT_EQ(tables->find_address(*IpAddress::parse("10.1.0.2")).kind, AddressKind::none);
  EXPECT_TRUE(tables->is_return_source(*IpAddress::parse("fd00:2::11"), be16(53), 17));
  EXPECT_FALSE(tables->is_return_source(*IpAddress::parse("10.2.0.11"), be16(8080), 6));  // FULL_NAT
  EXPECT_EQ(tables->find_route(*IpAddress::parse("10.2.0.9"))->port, 1);
  EXPECT_EQ(tables->find_route(*IpAddress::parse("192.0.2.1"))->next_hop, *IpAddress::parse("10.1.0.254"));
}

// Of routes that hold the destination the longest, and of two to one network the first, as a walk through all of them says.
TEST(Snapshot, RoutesAreFoundByTheLongestPrefix) {
  SLUICE_TRACE_SEED();
  test::Random random(82);
  const auto any_address = [&] {
    const char* stems[] = {"10.2.0.", "10.2.1.", "10.3.0.", "192.0.2.", "fd00:2::", "fd00:2:1::", "2001:db8::"};
    return *IpAddress::parse(fmt::format("{}{}", stems[random.below(7)], random.below(64)));
  };
  for (std::uint64_t round = 0; round < test::tries(300); ++round) {
    SnapshotWriter writer;
    writer.node.worker_count = 1;
    writer.node.flow_capacity = 64;
    PortRow port{};
    port.queue_count = 1;
    port.mtu = 1'500;
    writer.add(port);
    std::vector<RouteRow> routes;
    for (std::uint64_t i = 0; i < random.below(40); ++i) {
      const IpAddress address = any_address();
      const unsigned shortest = address.is_v4() ? 96 : 0;
      const auto length = static_cast<std::uint8_t>(random.one_in(8) ? shortest : 128 - random.below(128 - shortest + 1));
      RouteRow route{};
      route.network = IpPrefix::of(address, length).network;
      route.prefix_length = length;
      route.next_hop = IpAddress::v4(be32(static_cast<std::uint32_t>(i + 1)));  // by which it is known again
      writer.add(route);
      routes.push_back(route);
    }
    const auto buffer = writer.finish(1);
    ASSERT_TRUE(buffer) << buffer.error().message;
    const auto tables = Snapshot::verify(buffer->bytes());
    ASSERT_TRUE(tables) << tables.error().message;
    for (int probe = 0; probe < 200; ++probe) {
      const IpAddress destination = any_address();
      const RouteRow* expected = nullptr;
      for (const RouteRow& route : routes) {
        if (!IpPrefix{route.network, route.prefix_length}.contains(destination)) continue;
        if (expected == nullptr || route.prefix_length > expected->prefix_length) expected = &route;
      }
      const RouteRow* found = tables->find_route(destination);
      const auto hop_of = [](const RouteRow* route) { return route == nullptr ? "none" : route->next_hop.text(); };
      ASSERT_EQ(hop_of(found), hop_of(expected)) << destination.text();
    }
  }
}

TEST(Snapshot, SameCallsSameBytes) {
  const SnapshotBuffer first = usual(), second = usual();
  ASSERT_EQ(first.bytes().size(), second.bytes().size());
  EXPECT_EQ(std::memcmp(first.bytes().data(), second.bytes().data(), first.bytes().size()), 0);
}

TEST(Snapshot, EveryTruncationIsRefused) {
  const SnapshotBuffer whole = usual();
  for (std::size_t bytes = 0; bytes < whole.bytes().size(); bytes += bytes < 4'096 ? 1 : 97) {
    SnapshotBuffer cut(bytes);
    std::copy_n(whole.bytes().begin(), bytes, cut.bytes().begin());
    EXPECT_FALSE(Snapshot::verify(std::as_const(cut).bytes())) << bytes;
  }
}

TEST(Snapshot, EverySingleBitFlipIsRefused) {
  SnapshotBuffer buffer = usual();
  for (std::size_t bit = 0; bit < buffer.bytes().size() * 8; bit += 1 + bit / 64 % 5) {
    buffer.bytes()[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    ASSERT_FALSE(Snapshot::verify(std::as_const(buffer).bytes())) << "bit " << bit;
    buffer.bytes()[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  EXPECT_TRUE(Snapshot::verify(std::as_const(buffer).bytes()));
}

TEST(Snapshot, RefusalsNameWhatIsWrong) {
  const auto refusal_of = [](auto change) {
    SnapshotBuffer buffer = usual();
    change(*reinterpret_cast<SnapshotHeader*>(buffer.bytes().data()));
    const auto verified = Snapshot::verify(std::as_const(buffer).bytes());
    return verified ? std::string("accepted") : verified.error().message;
  };
  EXPECT_NE(refusal_of([](SnapshotHeader& header) { header.magic[0] = 'X'; }).find("magic"), std::string::npos);
  EXPECT_NE(refusal_of([](SnapshotHeader& header) { ++header.format; }).find("format"), std::string::npos);
  EXPECT_NE(refusal_of([](SnapshotHeader& header) { --header.format; }).find("format"), std::string::npos);
  EXPECT_NE(refusal_of([](SnapshotHeader& header) { header.total_bytes += 64; }).find("truncated"), std::string::npos);
  EXPECT_NE(refusal_of([](SnapshotHeader& header) { header.crc ^= 1; }).find("damaged"), std::string::npos);
}

// A database of regular expressions that this process cannot use is refused by name: version and platform stand in its
// header, and its content has a checksum.
TEST(Snapshot, ADatabaseOfRegularExpressionsIsLoadedOrRefused) {
  trace::Model model = usual_model();
  ASSERT_TRUE(model.change({"cluster", "tls", "{", "endpoint", "10.2.0.13:443", ";", "forwarding", "splice", "}"}));
  ASSERT_TRUE(model.change({"vip", "10.9.0.1:443/tcp", "{", "matches", "[a-f]+\\.example", "tls", "}"}));
  const auto refusal_of = [&](auto damage) {
    auto buffer = model.compile();
    EXPECT_TRUE(buffer) << buffer.error().message;
    const std::string_view content(reinterpret_cast<const char*>(buffer->bytes().data()), buffer->bytes().size());
    damage(buffer->bytes().subspan(content.rfind("\xdb\xdb\xdb\xdb")));  // what a database begins with
    seal(*buffer);
    const auto verified = Snapshot::verify(std::as_const(*buffer).bytes());
    return verified ? std::string("accepted") : verified.error().message;
  };
  const std::string at = "snapshot: the regular expressions for server names of 10.9.0.1:443: ";
  EXPECT_EQ(refusal_of([](std::span<std::byte>) {}), "accepted");
  EXPECT_NE(refusal_of([](std::span<std::byte> database) { database[5] ^= std::byte{1}; })
                .find(at + "made by another version of Hyperscan than 5."), std::string::npos);
  EXPECT_NE(refusal_of([](std::span<std::byte> database) { database[12] ^= std::byte{1}; })
                .find(at + "made for a CPU"), std::string::npos);
  EXPECT_EQ(refusal_of([](std::span<std::byte> database) { database[0] ^= std::byte{1}; }), at + "damaged");
  EXPECT_EQ(refusal_of([](std::span<std::byte> database) { database[300] ^= std::byte{1}; }), at + "damaged");
}

// With a CRC that fits, nothing but verify() stands between wrong rows and the lcores.
TEST(Snapshot, MutatedRowsAreRefusedOrHarmless) {
  SLUICE_TRACE_SEED();
  test::Random random(30);
  const SnapshotBuffer whole = usual();
  std::uint64_t accepted = 0, refused = 0;
  constexpr std::uint32_t odd[] = {0, 1, 2, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
  for (std::uint64_t i = 0; i < test::tries(100'000); ++i) {
    SnapshotBuffer buffer(whole.bytes().size());
    std::memcpy(buffer.bytes().data(), whole.bytes().data(), whole.bytes().size());
    for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
      const std::size_t at = sizeof(SnapshotHeader) + random.below(buffer.bytes().size() - sizeof(SnapshotHeader) - 4);
      if (random.one_in(2)) {
        buffer.bytes()[at] = static_cast<std::byte>(random.word());
      } else {
        const std::uint32_t value = odd[random.below(std::size(odd))];
        std::memcpy(&buffer.bytes()[at & ~std::size_t{3}], &value, sizeof value);
      }
    }
    if (random.one_in(16)) reinterpret_cast<SnapshotHeader*>(buffer.bytes().data())->section_count = static_cast<std::uint32_t>(random.below(20));
    seal(buffer);
    const auto verified = Snapshot::verify(std::as_const(buffer).bytes());
    if (verified) {
      ++accepted;
      use(*verified);
    } else {
      ++refused;
      ASSERT_TRUE(verified.error().message.starts_with("snapshot: ")) << verified.error().message;
    }
  }
  EXPECT_GT(accepted, 0u);
  EXPECT_GT(refused, accepted / 10);
}

TEST(Snapshot, WriterRefusesWhatCannotBe) {
  trace::Model twice = usual_model();
  trace::Model model;
  ASSERT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:80", "}"}));
  ASSERT_TRUE(model.change({"vip", "10.9.0.1:80/tcp", "{", "cluster", "web", ";", "idle", "0s", "}"}));
  EXPECT_FALSE(model.compile());
  ASSERT_TRUE(model.change({"vip", "10.9.0.1:80/tcp", "idle", "1s"}));
  EXPECT_TRUE(model.compile());
  ASSERT_TRUE(model.change({"snat", "inside", "10.2.0.100", "ports", "2000-1999"}));
  EXPECT_FALSE(model.compile());
  ASSERT_TRUE(model.change({"snat", "inside", "10.2.0.100", "ports", "2000-2000"}));
  EXPECT_TRUE(model.compile());
  ASSERT_TRUE(model.change({"lcores", "2"}));  // fewer ports than workers
  EXPECT_FALSE(model.compile());
  ASSERT_TRUE(model.change({"lcores", "1"}));
  ASSERT_TRUE(model.change({"port", "wire", "10.1.0.1/24", "10.2.0.1/24"}));
  ASSERT_TRUE(model.change({"port", "green", "10.3.0.1/24", "vlan", "4094", "on", "wire"}));
  EXPECT_TRUE(model.compile());
  ASSERT_TRUE(model.change({"port", "green", "10.3.0.1/24", "vlan", "4095", "on", "wire"}));
  EXPECT_FALSE(model.compile());
  ASSERT_TRUE(model.change({"port", "green", "10.3.0.1/24", "vlan", "7", "on", "wire"}));
  ASSERT_TRUE(model.change({"port", "blue", "10.4.0.1/24", "vlan", "8", "on", "green"}));
  EXPECT_FALSE(model.compile()) << "a tag behind a tag";
}

}  // namespace
}  // namespace sluice::snapshot_test
