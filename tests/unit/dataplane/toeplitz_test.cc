// The Toeplitz hash against the vectors that Microsoft publishes, a hash written down bit by bit, and DPDK's.
#include "dataplane/flow/toeplitz.h"

#include <gtest/gtest.h>
#include <rte_thash.h>

#include "tests/unit/dataplane/property.h"

namespace sluice::toeplitz_test {
namespace {

// "Verifying the RSS hash calculation".
constexpr std::uint8_t microsoft_key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
                                            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
                                            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

struct Vector {
  const char *source, *destination;
  std::uint16_t source_port, destination_port;
  std::uint32_t addresses_hash, tcp_hash;
};

constexpr Vector vectors[] = {
    {"66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178},
    {"199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea},
    {"24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
    {"38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f},
    {"153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d},
    {"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf},
    {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985, 0x02d1feef},
};

FlowKey key_of(const Vector& vector) {
  return {*IpAddress::parse(vector.source), *IpAddress::parse(vector.destination), be16(vector.source_port),
          be16(vector.destination_port), 6};
}

TEST(Toeplitz, AgreesWithMicrosoftsVectors) {
  const Toeplitz toeplitz(microsoft_key);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(toeplitz.hash(key_of(vector)), vector.tcp_hash) << vector.source;
    FlowKey addresses = key_of(vector);  // a port of zero adds nothing
    addresses.source_port = addresses.destination_port = be16(0);
    EXPECT_EQ(toeplitz.hash(addresses), vector.addresses_hash) << vector.source;
  }
}

std::vector<std::uint8_t> input_of(const FlowKey& key) {
  std::vector<std::uint8_t> input;
  for (const IpAddress& address : {key.source, key.destination}) {
    const auto bytes = address.bytes();
    input.insert(input.end(), bytes.begin() + (address.is_v4() ? 12 : 0), bytes.end());
  }
  for (const Be16 port : {key.source_port, key.destination_port}) {
    input.push_back(static_cast<std::uint8_t>(port.host() >> 8));
    input.push_back(static_cast<std::uint8_t>(port.host()));
  }
  return input;
}

std::uint32_t hash_bit_by_bit(std::span<const std::uint8_t> key, std::span<const std::uint8_t> input) {
  const auto bit_of = [](std::span<const std::uint8_t> bytes, std::size_t bit) { return bytes[bit / 8] >> (7 - bit % 8) & 1u; };
  std::uint32_t hash = 0;
  for (std::size_t bit = 0; bit < input.size() * 8; ++bit) {
    if (bit_of(input, bit) == 0) continue;
    std::uint32_t window = 0;
    for (std::size_t i = 0; i < 32; ++i) window |= static_cast<std::uint32_t>(bit_of(key, bit + i)) << (31 - i);
    hash ^= window;
  }
  return hash;
}

std::uint32_t hash_by_dpdk(std::span<const std::uint8_t> key, std::span<const std::uint8_t> input) {
  std::vector<std::uint32_t> words(input.size() / 4);
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = static_cast<std::uint32_t>(input[4 * i] << 24 | input[4 * i + 1] << 16 | input[4 * i + 2] << 8 | input[4 * i + 3]);
  }
  return rte_softrss(words.data(), static_cast<std::uint32_t>(words.size()), key.data());
}

TEST(Toeplitz, AgreesWithOthersOnRandomKeysAndTuples) {
  SLUICE_TRACE_SEED();
  test::Random random(50);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint8_t> key(52);
    for (std::uint8_t& byte : key) byte = static_cast<std::uint8_t>(random.below(256));
    const Toeplitz toeplitz(key);
    for (int i = 0; i < 20; ++i) {
      FlowKey tuple;
      std::uint8_t source[16], destination[16];
      for (std::uint8_t& byte : source) byte = static_cast<std::uint8_t>(random.below(256));
      for (std::uint8_t& byte : destination) byte = static_cast<std::uint8_t>(random.below(256));
      source[0] = destination[0] = 0x20;
      const bool is_v4 = i % 2 == 0;
      tuple.source = is_v4 ? IpAddress::v4(be32(static_cast<std::uint32_t>(random.below(1ull << 32)))) : IpAddress::v6(source);
      tuple.destination = is_v4 ? IpAddress::v4(be32(static_cast<std::uint32_t>(random.below(1ull << 32)))) : IpAddress::v6(destination);
      tuple.source_port = be16(static_cast<std::uint16_t>(random.below(65'536)));
      tuple.destination_port = be16(static_cast<std::uint16_t>(random.below(65'536)));
      const auto input = input_of(tuple);
      const std::uint32_t hash = toeplitz.hash(tuple);
      ASSERT_EQ(hash, hash_bit_by_bit(key, input));
      ASSERT_EQ(hash, hash_by_dpdk(key, input));
    }
  }
}

}  // namespace
}  // namespace sluice::toeplitz_test
