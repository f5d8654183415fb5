// FT-05: five-tuples that were made to collide scatter over the flow table like any others. What a lookup costs is counted in
// buckets, records and moves instead of measured, so that the result is the same on every machine.
#include <cmath>
#include <set>
#include <unordered_map>

#include "dataplane/flow/flow_index.h"
#include "dataplane/net/flow_key.h"
#include "perf/common/colliding.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::hash_flood_test {
namespace {

constexpr std::uint64_t tuple_count = 1'000'000;
constexpr HashSecret boots[] = {{0x243f6a8885a308d3ull, 0x13198a2e03707344ull}, {0xa4093822299f31d0ull, 0x082efa98ec4e6c89ull}};

std::vector<std::uint64_t> random_choices(std::uint64_t salt) {
  test::Random random(salt);
  std::vector<std::uint64_t> choices(tuple_count);
  for (std::uint64_t& choice : choices) choice = random.word() & 0xffff'ffff'ffff;
  return choices;
}

// What the tuples cost the table, each put in once and looked up once.
struct Cost {
  std::uint64_t second_buckets = 0;  // lookups that need the second bucket
  std::uint64_t other_records = 0;   // records that lookups compare in vain
  std::size_t fullest = 0;           // tuples that share a first bucket
  std::size_t tuples = 0, buckets = 0;
  std::uint64_t refused = 0;
};

template <class Hash>
Cost cost_of(std::span<const std::uint64_t> choices, Hash hash) {
  FlowIndex index(choices.size());
  const std::size_t bucket_count = index.bytes() / 64;
  std::vector<std::uint32_t> load(bucket_count);
  Cost cost;
  cost.tuples = choices.size();
  cost.buckets = bucket_count;
  for (std::uint32_t i = 0; i < choices.size(); ++i) {
    const std::uint64_t of_this = hash(choices[i]);
    cost.fullest = std::max<std::size_t>(cost.fullest, ++load[of_this % bucket_count]);
    if (!index.insert(of_this, i)) ++cost.refused;
    if (cost.refused > 1'000) return cost;
  }
  for (std::uint32_t i = 0; i < choices.size(); ++i) {
    const std::uint64_t of_this = hash(choices[i]);
    FlowIndex::Reference guessed = ~0u;
    if (index.guess(of_this, guessed) != FlowIndex::Guess::likely) ++cost.second_buckets;
    index.find(of_this, [&](FlowIndex::Reference found) {
      cost.other_records += found != i;
      return found == i;
    });
  }
  return cost;
}

auto keyed(HashSecret secret) {
  return [secret](std::uint64_t choice) { return hash_of(perf::key_of_choice(choice), secret); };
}

// So many more of the same kind are chance: a tenth, and six standard deviations of the difference of two counts.
double by_chance(std::uint64_t count) {
  const auto expected = static_cast<double>(count);
  return 1.1 * expected + 6 * std::sqrt(2 * expected + 1);
}

// The fullest of buckets that are filled at random has more in one of a million runs (each bucket is Poisson distributed).
std::size_t fullest_by_chance(std::size_t tuples, std::size_t buckets) {
  const double mean = static_cast<double>(tuples) / static_cast<double>(buckets);
  double just = std::exp(-mean), more = 1 - just;  // the chance of `count` in a bucket, and of more
  std::size_t count = 0;
  while (more * static_cast<double>(buckets) > 1e-6) {
    just *= mean / static_cast<double>(++count);
    more -= just;
  }
  return count;
}

// As good as random ones, of which there are as many.
void expect_alike(const Cost& made, const Cost& random) {
  EXPECT_EQ(made.refused, 0u);
  EXPECT_LE(static_cast<double>(made.second_buckets), by_chance(random.second_buckets));
  EXPECT_LE(static_cast<double>(made.other_records), by_chance(random.other_records));
  EXPECT_LE(made.fullest, fullest_by_chance(made.tuples, made.buckets));
}

struct Attack {
  const char* name;
  std::uint32_t (*hash)(std::uint64_t);
};

class HashFlood : public testing::TestWithParam<Attack> {};

TEST_P(HashFlood, TuplesThatCollideUnderAnUnkeyedHashScatter) {
  SLUICE_TRACE_SEED();
  const auto choices = perf::colliding_choices(GetParam().hash, tuple_count);
  ASSERT_EQ(std::set<std::uint64_t>(choices.begin(), choices.end()).size(), tuple_count);
  constexpr std::uint32_t mask = (1u << perf::colliding_bits) - 1;
  for (std::size_t i = 0; i < choices.size(); i += 997) ASSERT_EQ((GetParam().hash(choices[i]) ^ GetParam().hash(0)) & mask, 0u);
  // A table keyed by that hash is full after 16: the attack is real.
  EXPECT_GT(cost_of(choices, [](std::uint64_t choice) { return std::uint64_t{GetParam().hash(choice)} & mask; }).refused, 1'000u);
  for (const HashSecret secret : boots) expect_alike(cost_of(choices, keyed(secret)), cost_of(random_choices(1), keyed(secret)));
}

INSTANTIATE_TEST_SUITE_P(Unkeyed, HashFlood, testing::Values(Attack{"crc32c", perf::crc_of_choice}, Attack{"toeplitz", perf::toeplitz_of_choice}),
                         [](const testing::TestParamInfo<Attack>& info) { return std::string(info.param.name); });

// Somebody who measured long enough knows tuples that share a bucket in this boot of ours.
TEST(HashFloodTiming, TuplesFoundInOneBootScatterInTheNext) {
  SLUICE_TRACE_SEED();
  test::Random random(2);
  // Every tuple whose hash ends in 10 zeros: all of them in a thousandth of the buckets.
  std::vector<std::uint64_t> found;
  while (found.size() < test::tries(100'000)) {
    const std::uint64_t choice = random.word() & 0xffff'ffff'ffff;
    if (keyed(boots[0])(choice) % 1'024 == 0) found.push_back(choice);
  }
  const Cost in_that_boot = cost_of(found, keyed(boots[0]));
  EXPECT_TRUE(in_that_boot.refused > 0 || in_that_boot.second_buckets > found.size() * 9 / 10) << "they do collide there";
  const auto others = random_choices(3);
  expect_alike(cost_of(found, keyed(boots[1])), cost_of(std::span(others).first(found.size()), keyed(boots[1])));
}

// What is known of some collisions leads to no others in the same boot: their differences, added to other tuples (by XOR, as a
// linear hash would have it, or by sum), collide as often as any two tuples do.
TEST(HashFloodTiming, CollisionsThatWereFoundLeadToNoOthers) {
  SLUICE_TRACE_SEED();
  test::Random random(4);
  constexpr std::uint64_t buckets = 1u << 12;
  std::unordered_map<std::uint64_t, std::uint64_t> by_bucket;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
  while (pairs.size() < 1'000) {
    const std::uint64_t choice = random.word() & 0xffff'ffff'ffff;
    const auto [other, is_new] = by_bucket.try_emplace(keyed(boots[0])(choice) % buckets, choice);
    if (!is_new && other->second != choice) pairs.emplace_back(other->second, choice);
  }
  const std::uint64_t tries = test::tries(4'000);
  std::uint64_t by_xor = 0, by_sum = 0;
  for (const auto& [one, two] : pairs) {
    for (std::uint64_t i = 0; i < tries; ++i) {
      const std::uint64_t choice = random.word() & 0xffff'ffff'ffff;
      const std::uint64_t bucket = keyed(boots[0])(choice) % buckets;
      by_xor += keyed(boots[0])(choice ^ one ^ two) % buckets == bucket;
      by_sum += keyed(boots[0])((choice + one - two) & 0xffff'ffff'ffff) % buckets == bucket;
    }
  }
  // Expected are so many; six standard deviations are chance.
  const double expected = static_cast<double>(pairs.size() * tries) / buckets;
  EXPECT_NEAR(static_cast<double>(by_xor), expected, 6 * std::sqrt(expected));
  EXPECT_NEAR(static_cast<double>(by_sum), expected, 6 * std::sqrt(expected));
}

TEST(HashFloodTiming, TwoBootsPlaceTheSameTuplesDifferently) {
  SLUICE_TRACE_SEED();
  constexpr std::uint64_t buckets = 1u << 12;
  const auto choices = random_choices(5);
  std::uint64_t same_bucket = 0, still_together = 0;
  std::vector<std::uint64_t> last(buckets, ~0ull);
  std::uint64_t together = 0;
  for (const std::uint64_t choice : choices) {
    const std::uint64_t first = keyed(boots[0])(choice) % buckets, second = keyed(boots[1])(choice) % buckets;
    same_bucket += first == second;
    if (last[first] != ~0ull) {
      ++together;
      still_together += keyed(boots[1])(last[first]) % buckets == second;
    }
    last[first] = choice;
  }
  const double expected = static_cast<double>(tuple_count) / buckets;
  EXPECT_NEAR(static_cast<double>(same_bucket), expected, 6 * std::sqrt(expected));
  EXPECT_NEAR(static_cast<double>(still_together), static_cast<double>(together) / buckets, 6 * std::sqrt(expected));
}

}  // namespace
}  // namespace sluice::hash_flood_test
