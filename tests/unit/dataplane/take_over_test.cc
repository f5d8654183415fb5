// FT-07: what the next process makes of a flow file, whatever has happened to it.
#include "dataplane/pipeline/take_over.h"

#include <unistd.h>

#include "tests/traces/leftovers.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::take_over_test {
namespace {

using trace::Leftovers;

std::unique_ptr<Leftovers> leftovers() {
  auto left = Leftovers::create("/dev/shm/sluice-leftovers-" + std::to_string(getpid()));
  EXPECT_TRUE(left) << left.error().message;
  return left ? std::move(*left) : nullptr;
}

// Steps of a script, see leftovers.cc.
std::vector<std::uint8_t> flip(std::size_t byte, unsigned bit) {
  return {0, 0, static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(byte >> 8), static_cast<std::uint8_t>(bit)};
}

TEST(TakeOver, DamagedFilesAreBegunAnewOrTheirSoundFlowsGoOnExactly) {
  SLUICE_TRACE_SEED();
  test::Random random(70);
  const auto left = leftovers();
  ASSERT_NE(left, nullptr);
  std::uint64_t anew = 0, all = 0, some = 0, taken_over = 0;
  for (std::uint64_t i = 0; i < test::tries(100'000); ++i) {
    std::vector<std::uint8_t> script(1 + random.below(random.one_in(8) ? 200 : 24));
    for (auto& byte : script) byte = static_cast<std::uint8_t>(random.word());
    const std::string fault = left->damage_and_take_over(script);
    ASSERT_EQ(fault, "") << "script " << i;
    const auto& outcome = left->outcome();
    anew += outcome.is_begun_anew;
    all += outcome.taken_over == left->flow_count();
    some += outcome.taken_over > 0 && outcome.taken_over < left->flow_count();
    taken_over += outcome.taken_over;
  }
  const std::uint64_t tries = test::tries(100'000);
  EXPECT_GT(anew, tries / 100);
  EXPECT_GT(all, tries / 100);
  EXPECT_GT(some, tries / 4);
  EXPECT_GT(taken_over, tries);
  RecordProperty("begun_anew", static_cast<int>(anew));
  RecordProperty("all_taken_over", static_cast<int>(all));
  RecordProperty("some_taken_over", static_cast<int>(some));
}

// What is believed after one bit has changed, wherever it is: all flows but at most one go on, or (header) none does; and of a flow
// that goes on nobody else is named than the client that was.
TEST(TakeOver, OneBitAnywhereCostsOneFlowAtMost) {
  const auto left = leftovers();
  ASSERT_NE(left, nullptr);
  constexpr std::size_t records_at = 4'096, header_bytes = 40, splices_at = records_at + 32 * sizeof(FlowRecord);
  constexpr std::size_t clients_at = splices_at + 8 * sizeof(SpliceRecord), end = clients_at + 8 * sizeof(NamedClient);
  const unsigned step = test::tries(10) == 1 ? 8 : 1;  // sanitized: one bit of each byte
  std::uint64_t lost = 0, unnoticed = 0, unnamed = 0;
  for (std::size_t byte = 0; byte < end; byte = byte == header_bytes - 1 ? records_at : byte + 1) {
    for (unsigned bit = byte % step; bit < 8; bit += step) {
      ASSERT_EQ(left->damage_and_take_over(flip(byte, bit)), "") << "byte " << byte << ", bit " << bit;
      const auto& outcome = left->outcome();
      ASSERT_EQ(outcome.is_begun_anew, byte < header_bytes) << "byte " << byte << ", bit " << bit;
      if (outcome.is_begun_anew) continue;
      ASSERT_GE(outcome.taken_over + 1, left->flow_count()) << "byte " << byte << ", bit " << bit;
      (outcome.taken_over == left->flow_count() ? unnoticed : lost) += 1;
      if (byte < clients_at) continue;
      ASSERT_EQ(outcome.taken_over, left->flow_count()) << "byte " << byte << ", bit " << bit;
      ASSERT_GE(outcome.named + 1, left->named_count()) << "byte " << byte << ", bit " << bit;
      unnamed += outcome.named < left->named_count();
    }
  }
  EXPECT_GT(lost * step, left->flow_count() * 40 * 8);  // the identity of every one
  EXPECT_EQ(unnamed * step, left->named_count() * sizeof(NamedClient) * 8);
  EXPECT_GT(unnoticed, 0u);                      // free records, and what no check covers
}

// With more room, or on fewer lcores, all go on, and whom a PROXY header named with them.
TEST(TakeOver, AnotherShapeKeepsTheNamedClients) {
  const auto left = leftovers();
  ASSERT_NE(left, nullptr);
  for (const std::uint8_t shape : {0, 1, 2}) {
    ASSERT_EQ(left->damage_and_take_over(std::span(&shape, 1)), "");
    EXPECT_EQ(left->outcome().taken_over, left->flow_count()) << "shape " << int{shape};
    EXPECT_EQ(left->outcome().named, left->named_count()) << "shape " << int{shape};
  }
}

// A flow that has ended is not brought back by one bit in the state of its record.
TEST(TakeOver, NothingEndedComesBack) {
  std::vector<FlowRecord> records(2);
  FlowOpening opening;
  opening.from_client = {*IpAddress::parse("203.0.113.1"), *IpAddress::parse("10.9.0.1"), be16(4'000), be16(80), 6};
  opening.to_endpoint = {*IpAddress::parse("10.2.0.100"), *IpAddress::parse("10.2.0.11"), be16(5'000), be16(8080), 6};
  Conntrack flows(records, {1, 2});
  FlowRecord* record = flows.open(opening, Instant{1});
  ASSERT_NE(record, nullptr);
  flows.close(*record);
  for (unsigned bit = 0; bit < 4; ++bit) {
    record->state = static_cast<FlowState>(1u << bit);
    Conntrack next(records, {3, 4});
    EXPECT_EQ(next.adopt_all([](const FlowRecord&) { return true; }), 0u) << "bit " << bit;
  }
}

}  // namespace
}  // namespace sluice::take_over_test
