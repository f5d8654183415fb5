#include "dataplane/net/syn_cookie.h"

#include "tests/unit/dataplane/property.h"

namespace sluice::syn_cookie_test {
namespace {

constexpr SipKey secret{0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

FlowKey key_of(const char* source, const char* destination, std::uint16_t source_port) {
  return {*IpAddress::parse(source), *IpAddress::parse(destination), be16(source_port), be16(443), 6};
}

const FlowKey key = key_of("198.51.100.7", "10.9.0.1", 4'000);

TEST(SipHash, AnswersAsThePaperSays) {  // appendix A: the key 00..0f and the message 00..0e
  std::byte message[15];
  for (unsigned i = 0; i < 15; ++i) message[i] = static_cast<std::byte>(i);
  EXPECT_EQ(siphash(secret, message), 0xa129ca6149be45e5ull);
  EXPECT_EQ(siphash(secret, {}), 0x726fdb47dd0e0e31ull);
}

TEST(SynCookie, BringsBackWhatTheSynOffered) {
  for (const bool has_sack : {false, true}) {
    for (int scale = -1; scale <= window_scale_max; ++scale) {
      for (const std::uint16_t mss : {std::uint16_t{536}, std::uint16_t{1'300}, std::uint16_t{1'440}, std::uint16_t{1'460}}) {
        TcpOffer offer;
        offer.mss = mss;
        offer.has_sack = has_sack;
        offer.has_window_scale = scale >= 0;
        offer.window_scale = static_cast<std::uint8_t>(std::max(scale, 0));
        const auto opened = open_cookie(secret, key, 77, make_cookie(secret, key, 77, offer, {5'000}), {6'000});
        ASSERT_TRUE(opened);
        EXPECT_EQ(*opened, offer);
      }
    }
  }
}

TEST(SynCookie, RoundsTheMssDown) {
  struct {
    std::uint16_t offered, kept_v4, kept_v6;
  } const cases[] = {{0, 536, 536}, {535, 536, 536}, {1'299, 536, 1'220}, {1'400, 1'300, 1'220}, {1'459, 1'440, 1'440}, {8'960, 1'460, 1'440}};
  const FlowKey key_v6 = key_of("2001:db8::7", "fd00:9::1", 4'000);
  for (const auto& c : cases) {
    TcpOffer offer;
    offer.mss = c.offered;
    EXPECT_EQ(open_cookie(secret, key, 1, make_cookie(secret, key, 1, offer, {0}), {0})->mss, c.kept_v4) << c.offered;
    EXPECT_EQ(open_cookie(secret, key_v6, 1, make_cookie(secret, key_v6, 1, offer, {0}), {0})->mss, c.kept_v6) << c.offered;
  }
}

TEST(SynCookie, LivesForItsTimeAndNoLonger) {
  for (const std::uint64_t made : {0ull, 1'000ull, 63'999ull, 64'000ull, 1'000'000ull}) {
    const std::uint32_t cookie = make_cookie(secret, key, 9, {}, {made});
    EXPECT_TRUE(open_cookie(secret, key, 9, cookie, {made})) << made;
    EXPECT_TRUE(open_cookie(secret, key, 9, cookie, {made + cookie_lifetime_ms / 2})) << made;
    EXPECT_FALSE(open_cookie(secret, key, 9, cookie, {made + cookie_lifetime_ms})) << made;  // SP-19
    EXPECT_FALSE(open_cookie(secret, key, 9, cookie, {made + 10 * cookie_lifetime_ms})) << made;
  }
}

TEST(SynCookie, IsBoundToEverything) {
  const std::uint32_t cookie = make_cookie(secret, key, 9, {}, {0});
  EXPECT_FALSE(open_cookie(secret, key_of("198.51.100.8", "10.9.0.1", 4'000), 9, cookie, {0}));
  EXPECT_FALSE(open_cookie(secret, key_of("198.51.100.7", "10.9.0.2", 4'000), 9, cookie, {0}));  // another VIP's
  EXPECT_FALSE(open_cookie(secret, key_of("198.51.100.7", "10.9.0.1", 4'001), 9, cookie, {0}));
  EXPECT_FALSE(open_cookie(secret, key, 10, cookie, {0}));
  EXPECT_FALSE(open_cookie({secret.a, secret.b + 1}, key, 9, cookie, {0}));
  for (unsigned bit = 0; bit < 32; ++bit) EXPECT_FALSE(open_cookie(secret, key, 9, cookie ^ 1u << bit, {0})) << bit;
}

// SP-19: ten million that are made up, replayed when the period has changed twice, or another VIP's. A guess is right once in
// 2^24: of as many more than 7 hits have a chance of 1 in 10^7.
TEST(SynCookie, AStormOfForgeriesIsRefused) {
  SLUICE_TRACE_SEED();
  test::Random random(3);
  const FlowKey other = key_of("198.51.100.7", "10.9.0.2", 4'000);
  const Instant made{cookie_lifetime_ms * (4 + random.below(1u << 20))};
  const Instant later = made + Milliseconds{cookie_lifetime_ms};
  constexpr std::uint32_t isn_count = 4'096;
  std::vector<std::uint32_t> own, of_other;  // by the client's number
  for (std::uint32_t isn = 0; isn < isn_count; ++isn) {
    own.push_back(make_cookie(secret, key, isn, {}, made));
    of_other.push_back(make_cookie(secret, other, isn, {}, made));
  }
  unsigned hits = 0;
  const std::uint64_t count = test::tries(10'000'000);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t word = random.word();
    const auto isn = static_cast<std::uint32_t>(word % isn_count);
    const bool is_replayed = i % 3 == 0, is_of_other = i % 3 == 1;
    // A bit is changed in most of those, or there would be only so many.
    const std::uint32_t change = i < isn_count ? 0 : 1u << (8 + word % 24);
    const std::uint32_t cookie = is_replayed   ? own[isn] ^ change
                                 : is_of_other ? of_other[isn] ^ change
                                               : static_cast<std::uint32_t>(word >> 32);
    hits += open_cookie(secret, key, isn, cookie, is_replayed ? later : made).has_value();
  }
  EXPECT_LE(hits, 7u) << "of " << count;
}

}  // namespace
}  // namespace sluice::syn_cookie_test
