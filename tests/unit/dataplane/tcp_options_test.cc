#include "dataplane/net/tcp_options.h"

#include <vector>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/mss_clamp.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::tcp_options_test {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(TcpOptions, ReadsWhatLinuxSends) {
  const auto offer = read_offer(bytes_of({2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 7}));
  EXPECT_EQ(offer.mss, 1'460);
  EXPECT_TRUE(offer.has_sack);
  EXPECT_TRUE(offer.has_timestamps);
  EXPECT_EQ(offer.timestamp, 7u);
  EXPECT_EQ(offer.timestamp_echo, 9u);
  EXPECT_TRUE(offer.has_window_scale);
  EXPECT_EQ(offer.window_scale, 7);
}

TEST(TcpOptions, LimitsTheWindowScale) { EXPECT_EQ(read_offer(bytes_of({3, 3, 15, 0})).window_scale, 14); }

TEST(TcpOptions, StopsAtWhatIsMalformed) {
  for (const auto& options : {bytes_of({2, 0, 5, 0xb4}), bytes_of({2, 1, 5, 0xb4}), bytes_of({2, 5, 5, 0xb4}), bytes_of({2}),
                              bytes_of({0, 4, 2, 0})}) {
    EXPECT_EQ(read_offer(options), TcpOffer{});
  }
  EXPECT_TRUE(read_offer(bytes_of({4, 2, 9, 0})).has_sack);  // what came before counts
}

TEST(TcpOptions, WhatIsWrittenIsReadAndNoLongerThanItNeedBe) {
  for (unsigned which = 0; which < 16; ++which) {
    TcpOffer offer;
    std::size_t least = 0;
    if ((which & 1) != 0) offer.mss = 1'234, least += 4;
    if ((which & 2) != 0) offer.has_sack = true, least += 2;
    if ((which & 4) != 0) offer.has_timestamps = true, offer.timestamp = 0x01020304, offer.timestamp_echo = 0xfffefdfc, least += 10;
    if ((which & 8) != 0) offer.has_window_scale = true, offer.window_scale = 9, least += 3;
    std::array<std::byte, tcp_options_bytes_max> options;
    const std::size_t count = write_offer(offer, options);
    EXPECT_EQ(count, (least + 3) / 4 * 4) << which;
    EXPECT_EQ(read_offer(std::span(options).first(count)), offer) << which;
  }
}

TEST(TcpOptions, FindsWhatChangesOnTheWay) {
  auto places = find_options(bytes_of({1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 18, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}));
  EXPECT_EQ(places.timestamps, 2);
  EXPECT_EQ(places.sack, 14);
  EXPECT_EQ(places.sack_block_count, 2);
  places = find_options(bytes_of({5, 9, 0, 0, 0, 0, 0, 0, 0, 1}));  // no whole number of blocks
  EXPECT_EQ(places.sack, TcpOptionPlaces::absent);
  EXPECT_EQ(places.timestamps, TcpOptionPlaces::absent);
}

TEST(MssClamp, LowersEachStatementForStacksDifferAboutWhichCounts) {
  std::vector<std::byte> header(sizeof(TcpHeader) + 16);
  auto& tcp = *reinterpret_cast<TcpHeader*>(header.data());
  const std::vector<std::byte> options = bytes_of({2, 4, 0x05, 0xb4, 1, 2, 4, 0x02, 0x00, 2, 4, 0x23, 0x28, 0, 0, 0});
  std::copy(options.begin(), options.end(), header.begin() + sizeof tcp);
  tcp.checksum = checksum_of(header);
  clamp_mss(header, 1'000);
  EXPECT_EQ(std::vector<std::byte>(header.begin() + sizeof tcp, header.end()),
            bytes_of({2, 4, 0x03, 0xe8, 1, 2, 4, 0x02, 0x00, 2, 4, 0x03, 0xe8, 0, 0, 0}));
  EXPECT_EQ(checksum_of(header), 0);
}

TEST(TcpOptions, AnyBytesDoNoHarm) {
  SLUICE_TRACE_SEED();
  test::Random random(5);
  for (std::uint64_t i = 0; i < test::tries(200'000); ++i) {
    std::vector<std::byte> options(random.below(11) * 4);
    for (std::byte& byte : options) byte = static_cast<std::byte>(random.below(random.one_in(2) ? 256 : 11));
    const TcpOptionPlaces places = find_options(options);
    if (places.timestamps != TcpOptionPlaces::absent) {
      ASSERT_LE(places.timestamps + 10u, options.size());
    }
    if (places.sack != TcpOptionPlaces::absent) {
      ASSERT_LE(places.sack + 2u + places.sack_block_count * 8u, options.size());
    }
    read_offer(options);
  }
}

}  // namespace
}  // namespace sluice::tcp_options_test
