#include "dataplane/flow/conntrack.h"

#include <cstring>
#include <map>

#include "tests/unit/dataplane/property.h"

namespace sluice::conntrack_test {
namespace {

constexpr HashSecret secret{0x1111, 0x2222};

FlowOpening opening_of(std::uint32_t client, std::uint16_t port, bool is_v4 = true) {
  const auto address = [&](std::uint32_t number) {
    return is_v4 ? IpAddress::v4(be32(number)) : IpAddress{0x20010db8, std::uint64_t{number} << 20};
  };
  FlowOpening opening;
  opening.from_client = {address(0xc6336400 + client), address(0x0a090001), be16(port), be16(80), 6};
  opening.to_endpoint = {address(0x0a020064), address(0x0a02000b), be16(static_cast<std::uint16_t>(port ^ client)), be16(8080), 6};
  opening.to_endpoint.source.low ^= std::uint64_t{client} << 40;  // any SNAT address will do here
  opening.vip_id = 1;
  opening.endpoint_id = 2;
  opening.idle_timeout_ms = 1000;
  return opening;
}

struct Less {
  bool operator()(const FlowKey& a, const FlowKey& b) const {
    const std::uint32_t ports_a = a.source_port.host() * 65'536u + a.destination_port.host();
    const std::uint32_t ports_b = b.source_port.host() * 65'536u + b.destination_port.host();
    return std::make_tuple(a.source, a.destination, ports_a, a.protocol) <
           std::make_tuple(b.source, b.destination, ports_b, b.protocol);
  }
};

TEST(Conntrack, OneSidedFlowsToOnePlaceAreKnownByTheirClientsAlone) {
  std::vector<FlowRecord> records(4);
  Conntrack flows(records, secret);
  std::vector<FlowOpening> openings;
  for (std::uint16_t i = 0; i < 4; ++i) {
    FlowOpening opening = opening_of(1, static_cast<std::uint16_t>(10 + i));
    opening.to_endpoint = openings.empty() ? opening.to_endpoint : openings[0].to_endpoint;  // one outer header for all
    opening.dsr = Dsr::gue;
    opening.tunnel_port = be16(6'080);
    openings.push_back(opening);
    ASSERT_NE(flows.open(opening, Instant{1}), nullptr);
  }
  EXPECT_FALSE(flows.contains(openings[0].to_endpoint.reversed()));
  for (const FlowOpening& opening : openings) {
    const FlowRecord* record = flows.find(opening.from_client, flows.hash(opening.from_client)).record;
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(leaving_key(*record, Direction::to_endpoint), opening.to_endpoint);
    EXPECT_FALSE(is_rewritten_only(*record));
  }
  // As another process finds them.
  Conntrack next(records, {0x3333, 0x4444});
  EXPECT_EQ(next.adopt_all([](const FlowRecord&) { return true; }), 4u);
  EXPECT_TRUE(next.contains(openings[3].from_client));
  records[0].tunnel_port = be16(6'081);
  EXPECT_FALSE(is_sealed(records[0])) << "the way of a flow is part of what it is";
  records[1].dsr = Dsr::ipip;
  EXPECT_FALSE(is_sealed(records[1]));
  next.close(records[2]);
  EXPECT_EQ(next.count(), 3u);
}

TEST(Conntrack, AgreesWithAMap) {
  SLUICE_TRACE_SEED();
  test::Random random(20);
  std::vector<FlowRecord> records(2'000);
  Conntrack flows(records, secret);
  std::map<FlowKey, FlowRecord*, Less> model;  // by the client's five-tuple
  std::vector<FlowKey> keys;
  for (std::uint64_t step = 0; step < test::tries(300'000); ++step) {
    if (random.below(100) < 55 || keys.empty()) {
      const FlowOpening opening = opening_of(static_cast<std::uint32_t>(random.below(64)), static_cast<std::uint16_t>(1 + random.below(400)), random.one_in(2));
      const FlowMatch match = flows.find(opening.from_client, flows.hash(opening.from_client));
      const auto known = model.find(opening.from_client);
      ASSERT_EQ(match.record, known == model.end() ? nullptr : known->second);
      if (match.record != nullptr || flows.contains(opening.to_endpoint.reversed())) continue;
      FlowRecord* record = flows.open(opening, Instant{step});
      ASSERT_EQ(record == nullptr, model.size() == records.size());
      if (record == nullptr) continue;
      ASSERT_EQ(record->last_seen, step);
      model[opening.from_client] = record;
      keys.push_back(opening.from_client);
    } else {
      const std::size_t which = random.below(keys.size());
      const FlowKey key = keys[which];
      keys[which] = keys.back();
      keys.pop_back();
      FlowRecord* record = model[key];
      const FlowKey reply = arriving_key(*record, Direction::to_client);
      const FlowMatch match = flows.find(reply, flows.hash(reply));
      ASSERT_EQ(match.record, record);
      ASSERT_EQ(match.direction, Direction::to_client);
      const FlowHash hash = flows.hash(key);
      FlowMatch guess;
      ASSERT_TRUE(flows.guess(hash, guess));
      ASSERT_EQ(flows.confirm(guess, key, hash).record, record);
      flows.close(*record);
      ASSERT_FALSE(flows.contains(key));
      ASSERT_FALSE(flows.contains(reply));
      model.erase(key);
    }
    ASSERT_EQ(flows.count(), model.size());
  }
  std::size_t swept = 0;
  const auto all = [](const FlowRecord&) { return true; };
  flows.sweep(static_cast<std::uint32_t>(records.size()), all, [&](FlowRecord& record) {
    ++swept;
    flows.close(record);
  });
  EXPECT_EQ(swept, model.size());
  EXPECT_EQ(flows.count(), 0u);
}

// A flow of any families and any way to forward; some share their addresses with others, some do not.
FlowOpening any_opening(test::Random& random) {
  const auto address = [&](bool is_v4, std::uint64_t place, std::uint64_t number) {
    return is_v4 ? IpAddress::v4(be32(static_cast<std::uint32_t>(place << 24 | number))) : IpAddress{0x20010db8 + place, number};
  };
  const auto port = [&] { return be16(static_cast<std::uint16_t>(1 + random.below(60'000))); };
  FlowOpening opening;
  const bool is_client_v4 = random.one_in(2), is_endpoint_v4 = random.one_in(2);
  const IpAddress client = address(is_client_v4, 1, random.below(1'000'000));
  opening.from_client = {client, address(is_client_v4, 2, random.below(3)), port(), be16(80), 6};
  opening.vip_id = static_cast<std::uint16_t>(random.below(4));
  opening.endpoint_id = 2;
  opening.dsr = random.one_in(4) ? static_cast<Dsr>(1 + random.below(3)) : Dsr::none;
  if (opening.dsr == Dsr::gue) opening.tunnel_port = be16(6'080);
  const bool is_snat = is_client_v4 != is_endpoint_v4 || opening.dsr >= Dsr::ipip || random.one_in(2);
  opening.is_snat = is_snat && opening.dsr == Dsr::none;
  const IpAddress local = is_snat ? address(is_endpoint_v4, 3, random.below(5)) : client;
  opening.to_endpoint = {local, address(is_endpoint_v4, 4, random.below(20)), port(), be16(8080), 6};
  return opening;
}

std::pair<IpAddress, IpAddress> addresses_of(const Conntrack& flows, const FlowRecord& record, std::size_t side) {
  const SideView view = flows.wide_side(record, side);
  return {*view.remote, *view.local};
}

// What stands in a record's first line says the same as the second, whichever flows came and went before.
TEST(Conntrack, PacketsOfWideFlowsAreToldByTheFirstLineAsByTheSecond) {
  SLUICE_TRACE_SEED();
  test::Random random(22);
  std::vector<FlowRecord> records(300);
  auto flows = std::make_unique<Conntrack>(records, secret);
  std::vector<FlowRecord*> open;
  std::uint64_t short_count = 0, long_count = 0;
  for (std::uint64_t step = 0; step < test::tries(30'000); ++step) {
    if (open.size() < 200 && !random.one_in(3)) {
      const FlowOpening opening = any_opening(random);
      const bool is_known = flows->contains(opening.from_client) || flows->contains(opening.to_endpoint.reversed());
      if (FlowRecord* record = is_known ? nullptr : flows->open(opening, Instant{1})) open.push_back(record);
    } else if (!open.empty()) {
      std::swap(open[random.below(open.size())], open.back());
      flows->close(*open.back());
      open.pop_back();
    }
    if (step % 1'000 == 999) {  // another process takes over
      flows = std::make_unique<Conntrack>(records, secret);
      ASSERT_EQ(flows->adopt_all([](const FlowRecord&) { return true; }), open.size());
    }
    if (open.empty()) continue;
    const FlowRecord& record = *open[random.below(open.size())];
    ASSERT_TRUE(is_sealed(record));
    for (const Direction direction : {Direction::to_endpoint, Direction::to_client}) {
      const FlowKey key = arriving_key(record, direction);
      ASSERT_TRUE(flows->arrives_as(record, direction, key)) << key.source.text() << " " << key.destination.text();
      FlowKey other = key;
      (random.one_in(2) ? other.source : other.destination).low ^= 1ull << (32 + random.below(32));
      ASSERT_FALSE(flows->arrives_as(record, direction, other));
    }
    if (!is_wide(record)) continue;
    ++(Conntrack::needs_second_line(record) ? long_count : short_count);
    ASSERT_EQ(addresses_of(*flows, record, 1), std::pair(record.wide_remote[1], record.wide_local[1]));
    if ((record.flags & flow_flag::client_is_v6) == 0) continue;
    ASSERT_EQ(addresses_of(*flows, record, 0), std::pair(record.wide_remote[0], record.wide_local[0]));
  }
  EXPECT_GT(short_count, 0u);
  EXPECT_GT(long_count, 0u) << "VIPs with several addresses";
}

TEST(Conntrack, AFullBookOfAddressesCostsOnlyTime) {
  std::vector<FlowRecord> records(AddressBook::numbers_max + 100u);
  Conntrack flows(records, secret);
  FlowRecord* last = nullptr;
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    FlowOpening opening = opening_of(1, 80, false);
    opening.from_client.source.low += i;
    opening.to_endpoint.destination.low += i;
    last = flows.open(opening, Instant{1});
    ASSERT_NE(last, nullptr);
  }
  EXPECT_FALSE(Conntrack::needs_second_line(records[0]));
  EXPECT_TRUE(Conntrack::needs_second_line(*last));
  const FlowKey reply = arriving_key(*last, Direction::to_client);
  EXPECT_EQ(flows.find(reply, flows.hash(reply)).record, last);
  flows.close(*last);
  flows.close(records[0]);
  const FlowRecord* next = flows.open(opening_of(1, 81, false), Instant{1});
  EXPECT_FALSE(Conntrack::needs_second_line(*next)) << "a number is free again";
}

TEST(Conntrack, FullIsRefusedAndHarmsNobody) {
  std::vector<FlowRecord> records(8);
  Conntrack flows(records, secret);
  for (std::uint16_t i = 0; i < 8; ++i) ASSERT_NE(flows.open(opening_of(1, static_cast<std::uint16_t>(i + 1)), Instant{0}), nullptr);
  EXPECT_EQ(flows.open(opening_of(2, 1), Instant{0}), nullptr);
  EXPECT_FALSE(flows.contains(opening_of(2, 1).from_client));
  for (std::uint16_t i = 0; i < 8; ++i) EXPECT_TRUE(flows.contains(opening_of(1, static_cast<std::uint16_t>(i + 1)).from_client));
}

TEST(Conntrack, AdoptsWhatAnEarlierOneLeft) {
  std::vector<FlowRecord> records(100);
  {
    Conntrack flows(records, secret);
    for (std::uint16_t i = 0; i < 60; ++i) flows.open(opening_of(i, 7, i % 2 == 0), Instant{0});
  }
  Conntrack flows(records, {0x3333, 0x4444});
  EXPECT_EQ(flows.adopt_all([](const FlowRecord&) { return true; }), 60u);
  for (std::uint16_t i = 0; i < 60; ++i) {
    EXPECT_TRUE(flows.contains(opening_of(i, 7, i % 2 == 0).from_client));
    EXPECT_TRUE(flows.contains(opening_of(i, 7, i % 2 == 0).to_endpoint.reversed()));
  }
  for (std::uint16_t i = 60; i < 100; ++i) EXPECT_NE(flows.open(opening_of(i, 7), Instant{0}), nullptr);
  EXPECT_EQ(flows.open(opening_of(100, 7), Instant{0}), nullptr);
}

TEST(Conntrack, AdoptsOnlyItsOwn) {
  std::vector<FlowRecord> records(10);
  {
    Conntrack flows(records, secret);
    for (std::uint16_t i = 0; i < 10; ++i) flows.open(opening_of(i, 7), Instant{0});
  }
  Conntrack flows(records, secret);
  EXPECT_EQ(flows.adopt_all([](const FlowRecord& record) { return record.v4[0].remote.host() % 2 == 0; }), 5u);
  EXPECT_EQ(flows.count(), 5u);
}

TEST(Conntrack, ImportsARecordOnce) {
  std::vector<FlowRecord> old_records(1), records(2);
  Conntrack old_flows(old_records, secret), flows(records, secret);
  old_flows.open(opening_of(1, 7), Instant{0});
  EXPECT_NE(flows.import(old_records[0]), nullptr);
  EXPECT_EQ(flows.import(old_records[0]), nullptr);
  EXPECT_EQ(flows.count(), 1u);
  EXPECT_NE(flows.open(opening_of(2, 7), Instant{0}), nullptr);
  EXPECT_EQ(flows.import(old_records[0]), nullptr);
}

// FT-07: whatever a damaged file holds, adoption takes checked records only and does not fall over.
TEST(Conntrack, AdoptionOfDamagedRecords) {
  SLUICE_TRACE_SEED();
  test::Random random(21);
  std::vector<FlowRecord> good(8);
  {
    Conntrack flows(good, secret);
    for (std::uint16_t i = 0; i < 8; ++i) flows.open(opening_of(i, 7, i % 2 == 0), Instant{0});
  }
  std::uint64_t kept_total = 0;
  for (std::uint64_t i = 0; i < test::tries(100'000); ++i) {
    std::vector<FlowRecord> records = good;
    auto* bytes = reinterpret_cast<unsigned char*>(records.data());
    const std::size_t size = records.size() * sizeof(FlowRecord);
    switch (random.below(4)) {
      case 0:  // single bits
        for (std::uint64_t flips = 1 + random.below(8); flips > 0; --flips) bytes[random.below(size)] ^= static_cast<unsigned char>(1u << random.below(8));
        break;
      case 1:  // a torn write
        std::memset(bytes + random.below(size - 64), static_cast<int>(random.below(256)), 64);
        break;
      case 2:  // a record twice
        records[random.below(8)] = records[random.below(8)];
        break;
      default:  // noise
        for (std::size_t at = random.below(size); at < size; ++at) bytes[at] = static_cast<unsigned char>(random.word());
        break;
    }
    Conntrack flows(records, {i, i});
    const std::size_t kept = flows.adopt_all([](const FlowRecord& record) { return record.vip_id == 1 && record.endpoint_id == 2; });
    kept_total += kept;
    ASSERT_EQ(flows.count(), kept);
    std::size_t used = 0;
    for (FlowRecord& record : records) {
      if (record.state == FlowState::unused) continue;
      ++used;
      ASSERT_TRUE(is_sealed(record));
      for (const Direction direction : {Direction::to_endpoint, Direction::to_client}) {
        const FlowKey key = arriving_key(record, direction);
        ASSERT_EQ(flows.find(key, flows.hash(key)).record, &record);
      }
    }
    ASSERT_EQ(used, kept);
    flows.sweep(8, [](const FlowRecord&) { return true; }, [&](FlowRecord& record) { flows.close(record); });
    ASSERT_EQ(flows.count(), 0u);
  }
  EXPECT_GT(kept_total, test::tries(100'000));
}

TEST(FlowRecord, CopyOfTellsTornOnesApart) {
  std::vector<FlowRecord> records(1);
  Conntrack flows(records, secret);
  EXPECT_FALSE(copy_of(records[0]));
  flows.open(opening_of(1, 7), Instant{5});
  ASSERT_TRUE(copy_of(records[0]));
  EXPECT_EQ(copy_of(records[0])->last_seen, 5u);
  records[0].ports[0].remote = be16(8);
  EXPECT_FALSE(copy_of(records[0]));
}

}  // namespace
}  // namespace sluice::conntrack_test
