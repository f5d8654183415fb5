// VIPs of many ports and addresses: the lookup against a plain reading of the rules, over random configurations.
#include <fmt/core.h>

#include <algorithm>

#include "tests/traces/model.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::wide_vips_test {
namespace {

struct Wide {
  IpPrefix where;
  std::vector<PortRange> ports;
  std::uint8_t protocol;
  std::string text;
};

// Single before range before all.
int kind_of(const Wide& vip, std::uint16_t port) {
  for (const PortRange& range : vip.ports) {
    if (range.contains(port)) return range == all_ports ? 1 : range.is_single() ? 3 : 2;
  }
  return 0;
}

const Wide* expected_at(const std::vector<Wide>& vips, IpAddress address, std::uint16_t port, std::uint8_t protocol) {
  const Wide* best = nullptr;
  for (const Wide& vip : vips) {
    if (vip.protocol != protocol || !vip.where.contains(address) || kind_of(vip, port) == 0) continue;
    const bool is_better = best == nullptr || vip.where.length > best->where.length ||
                           (vip.where.length == best->where.length && kind_of(vip, port) > kind_of(*best, port));
    if (is_better) best = &vip;
  }
  return best;
}

// Two of one kind at one place would be a conflict, which mgmt refuses.
bool is_free(const std::vector<Wide>& vips, const Wide& wanted) {
  return std::none_of(vips.begin(), vips.end(), [&](const Wide& vip) {
    if (vip.where != wanted.where || vip.protocol != wanted.protocol) return false;
    for (const PortRange& a : vip.ports) {
      for (const PortRange& b : wanted.ports) {
        const bool is_same_kind = (a == all_ports) == (b == all_ports) && a.is_single() == b.is_single();
        if (is_same_kind && a.first <= b.last && b.first <= a.last) return true;
      }
    }
    return false;
  });
}

std::uint16_t any_port(test::Random& random) { return static_cast<std::uint16_t>(1 + random.below(60)); }

Wide any_vip(test::Random& random) {
  Wide vip;
  const char* bases[] = {"10.9.0.0", "10.9.0.8", "10.9.1.0", "fd00:9::", "fd00:9::10"};
  const IpAddress base = *IpAddress::parse(bases[random.below(5)]);
  const std::uint8_t lengths[] = {128, 128, 126, 124, 120, 112};
  vip.where = IpPrefix::of(base, lengths[random.below(6)]);
  vip.protocol = random.one_in(3) ? 17 : 6;
  if (random.one_in(4)) {
    vip.ports = {all_ports};
  } else {
    std::uint16_t next = any_port(random);
    for (std::uint64_t i = 0; i <= random.below(3); ++i) {
      const auto last = static_cast<std::uint16_t>(next + (random.one_in(2) ? 0 : 1 + random.below(9)));
      vip.ports.push_back({next, last});
      next = static_cast<std::uint16_t>(last + 1 + random.below(5));
    }
  }
  vip.text = vip_text(vip.where, vip.ports, vip.protocol);
  return vip;
}

TEST(WideVips, AreFoundByTheLongestPrefixThenTheNarrowestPorts) {
  SLUICE_TRACE_SEED();
  test::Random random(81);
  for (std::uint64_t round = 0; round < test::tries(300); ++round) {
    trace::Model model;
    ASSERT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:80", "}"}));
    std::vector<Wide> vips;
    for (std::uint64_t i = 0; i < 1 + random.below(24); ++i) {
      Wide vip = any_vip(random);
      if (!is_free(vips, vip)) continue;
      ASSERT_TRUE(model.change({"vip", vip.text, "{", "cluster", "web", "}"})) << vip.text;
      vips.push_back(std::move(vip));
    }
    auto buffer = model.compile();
    ASSERT_TRUE(buffer) << buffer.error().message;
    const auto tables = Snapshot::verify(std::as_const(*buffer).bytes());
    ASSERT_TRUE(tables);
    for (const VipRow& row : tables->vips()) EXPECT_EQ(tables->vip_text(row), tables->name(row.name));
    for (int probe = 0; probe < 400; ++probe) {
      const char* stems[] = {"10.9.0.", "10.9.1.", "10.8.0.", "fd00:9::", "fd00:8::"};
      const IpAddress address = *IpAddress::parse(fmt::format("{}{}", stems[random.below(5)], random.below(32)));
      const std::uint16_t port = random.one_in(20) ? 0 : random.one_in(10) ? 65'535 : any_port(random);
      const std::uint8_t protocol = random.one_in(3) ? 17 : 6;
      const Wide* expected = expected_at(vips, address, port, protocol);
      const VipRow* found = tables->find_vip(address, be16(port), protocol);
      ASSERT_EQ(found == nullptr ? "" : tables->name(found->name), expected == nullptr ? "" : expected->text)
          << address.text() << " " << port << "/" << int{protocol};
      const bool is_ours = std::any_of(vips.begin(), vips.end(), [&](const Wide& vip) { return vip.where.contains(address); });
      ASSERT_EQ(tables->find_address(address).kind == AddressKind::vip, is_ours) << address.text();
      for (const VipRow& row : tables->vips()) {
        const auto vip = std::find_if(vips.begin(), vips.end(), [&](const Wide& one) { return one.text == tables->name(row.name); });
        ASSERT_EQ(tables->covers(row, address, be16(port)), vip->where.contains(address) && kind_of(*vip, port) != 0);
      }
    }
  }
}

TEST(WideVips, OfANetworkTheFirstAddressesAreAnnounced) {
  trace::Model model;
  ASSERT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:80", "}"}));
  ASSERT_TRUE(model.change({"vip", "10.9.0.252/30:80/tcp", "{", "cluster", "web", "}"}));
  ASSERT_TRUE(model.change({"vip", "[fd00:9::/64]:80/tcp", "{", "cluster", "web", "}"}));
  const auto buffer = model.compile();
  const auto addresses = Snapshot::verify(std::as_const(*buffer).bytes())->local_addresses();
  const auto is_there = [&](const char* text) {
    return std::find(addresses.begin(), addresses.end(), *IpAddress::parse(text)) != addresses.end();
  };
  EXPECT_TRUE(is_there("10.9.0.252") && is_there("10.9.0.255") && is_there("fd00:9::") && is_there("fd00:9::ff"));
  EXPECT_FALSE(is_there("10.9.1.0") || is_there("fd00:9::100"));
}

}  // namespace
}  // namespace sluice::wide_vips_test
