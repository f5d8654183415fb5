#include "dataplane/flow/flow_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

namespace sluice::flow_file_test {
namespace {

class FlowFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/sluice-flow-file-XXXXXX";
    directory_ = mkdtemp(pattern);
    path_ = directory_ + "/flows";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static void write_flow(FlowRecord& record, std::uint16_t client_port, bool is_spliced = false) {
    FlowOpening opening;
    opening.is_spliced = is_spliced;
    opening.from_client = {*IpAddress::parse("10.1.0.5"), *IpAddress::parse("10.9.0.1"), be16(client_port), be16(80), 6};
    opening.to_endpoint = {*IpAddress::parse("10.2.0.100"), *IpAddress::parse("10.2.0.11"), be16(client_port), be16(80), 6};
    write_record(record, opening, 0);
  }
  void overwrite(std::uint64_t offset, char value) const {
    const Fd fd(open(path_.c_str(), O_RDWR));
    ASSERT_EQ(pwrite(fd.get(), &value, 1, static_cast<off_t>(offset)), 1);
  }

  std::string directory_, path_;
};

TEST_F(FlowFileTest, a_new_file_is_empty_and_has_equal_spans) {
  auto file = FlowFile::open(path_, {100, 3});
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_FALSE(file->is_adoptable());
  EXPECT_TRUE(file->fresh_reason().empty());
  EXPECT_EQ(file->records_per_lcore(), 34u);
  for (std::uint32_t lcore = 0; lcore < 3; ++lcore) {
    for (const FlowRecord& record : file->records_of(lcore)) EXPECT_EQ(record.state, FlowState::unused);
  }
  EXPECT_EQ(file->records_of(0).data() + 34, file->records_of(1).data());
}

TEST_F(FlowFileTest, records_outlive_the_process) {
  {
    auto file = FlowFile::open(path_, {64, 2});
    write_flow(file->records_of(1)[5], 4'000);
  }
  auto file = FlowFile::open(path_, {64, 2});
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->is_adoptable());
  EXPECT_TRUE(is_sealed(file->records_of(1)[5]));
  EXPECT_EQ(arriving_key(file->records_of(1)[5], Direction::to_endpoint).source_port, be16(4'000));
}

TEST_F(FlowFileTest, another_shape_hands_the_sound_records_out) {
  {
    auto file = FlowFile::open(path_, {64, 2});
    write_flow(file->records_of(0)[0], 1);
    write_flow(file->records_of(1)[31], 2);
    write_flow(file->records_of(1)[3], 3);
    file->records_of(1)[3].check ^= 1;  // damaged
  }
  auto file = FlowFile::open(path_, {128, 1});
  ASSERT_TRUE(file);
  EXPECT_FALSE(file->is_adoptable());
  EXPECT_TRUE(file->fresh_reason().empty());
  const auto leftovers = file->take_leftovers();
  ASSERT_EQ(leftovers.size(), 2u);
  EXPECT_EQ(arriving_key(leftovers[0].flow, Direction::to_endpoint).source_port, be16(1));
  EXPECT_EQ(arriving_key(leftovers[1].flow, Direction::to_endpoint).source_port, be16(2));
  for (const FlowRecord& record : file->records_of(0)) EXPECT_EQ(record.state, FlowState::unused);
}

TEST_F(FlowFileTest, another_shape_hands_splices_out_with_their_flows) {
  {
    auto file = FlowFile::open(path_, {64, 2, 32});
    ASSERT_EQ(file->splices_of(1).size(), 16u);
    FlowRecord& joined = file->records_of(1)[7];
    write_flow(joined, 1, true);
    joined.splice_slot = 9;
    file->splices_of(1)[9].sequence_delta = 4'711;
    file->splices_of(1)[9].check = seal_of(file->splices_of(1)[9], joined.check);
    FlowRecord& calling = file->records_of(0)[7];
    write_flow(calling, 2, true);
    calling.splice_slot = 9;
  }
  auto file = FlowFile::open(path_, {64, 1, 32});
  ASSERT_TRUE(file);
  const auto leftovers = file->take_leftovers();
  ASSERT_EQ(leftovers.size(), 1u);  // the other one was not joined with its endpoint
  EXPECT_EQ(arriving_key(leftovers[0].flow, Direction::to_endpoint).source_port, be16(1));
  EXPECT_EQ(leftovers[0].splice.sequence_delta, 4'711u);
}

// Nobody pays for named clients who has none: 100,000 of them are 2.4 MB.
TEST_F(FlowFileTest, room_for_named_clients_is_made_when_asked_and_outlives_the_process) {
  constexpr FlowFileShape shape{64, 2, 100'000};
  const auto written = [](NamedClient client) { return client.address == *IpAddress::parse("2001:db8::9") && client.port == be16(4'000); };
  {
    auto file = FlowFile::open(path_, shape);
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->named_clients_of(1).empty());
    const auto before = std::filesystem::file_size(path_);
    FlowRecord* records = file->records_of(1).data();
    SpliceRecord* splices = file->splices_of(1).data();
    ASSERT_TRUE(file->hold_named_clients());
    EXPECT_EQ(file->records_of(1).data(), records);
    EXPECT_EQ(file->splices_of(1).data(), splices);
    EXPECT_GE(std::filesystem::file_size(path_), before + 2'390'000);
    ASSERT_EQ(file->named_clients_of(1).size(), 50'000u);
    write_flow(records[7], 1, true);
    records[7].splice_slot = 49'999;
    splices[49'999].client_isn = 100;
    splices[49'999].check = seal_of(splices[49'999], records[7].check);
    name_client(file->named_clients_of(1)[49'999], records[7], splices[49'999], *IpAddress::parse("2001:db8::9"), be16(4'000));
    ASSERT_TRUE(file->hold_named_clients());  // once more: nothing changes
    EXPECT_TRUE(find_named_client(records[7], file->splices_of(1), file->named_clients_of(1)));
    EXPECT_FALSE(find_named_client(records[7], file->splices_of(0), file->named_clients_of(0)));
    EXPECT_FALSE(find_named_client(records[7], file->splices_of(1), {}));
  }
  {
    auto file = FlowFile::open(path_, shape);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->is_adoptable());
    const auto client = find_named_client(file->records_of(1)[7], file->splices_of(1), file->named_clients_of(1));
    ASSERT_TRUE(client);
    EXPECT_TRUE(written(*client));
  }
  auto file = FlowFile::open(path_, {64, 1, 100'000});
  const auto leftovers = file->take_leftovers();
  ASSERT_EQ(leftovers.size(), 1u);
  ASSERT_TRUE(leftovers[0].client);
  EXPECT_TRUE(written(*leftovers[0].client));
}

TEST_F(FlowFileTest, without_room_for_named_clients_all_stays_as_it_is) {
  auto file = FlowFile::open(path_, {64, 2, 100'000});
  write_flow(file->records_of(1)[5], 4'000);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit lower{std::filesystem::file_size(path_), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &lower), 0);
  const auto held = file->hold_named_clients();
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(held);
  EXPECT_NE(held.error().message.find("KiB more in the file of flow records: "), std::string::npos) << held.error().message;
  EXPECT_TRUE(file->named_clients_of(1).empty());
  EXPECT_TRUE(is_sealed(file->records_of(1)[5]));
}

TEST_F(FlowFileTest, what_cannot_be_read_is_begun_anew_and_said) {
  struct {
    std::uint64_t offset;  // of the byte to break in the header
    const char* said;
  } const cases[] = {{0, "no file of flow records"}, {8, "header is damaged"}, {28, "header is damaged"}};
  for (const auto& test : cases) {
    std::filesystem::remove(path_);
    { auto file = FlowFile::open(path_, {64, 1}); }
    overwrite(test.offset, '\x7f');
    auto file = FlowFile::open(path_, {64, 1});
    ASSERT_TRUE(file);
    EXPECT_FALSE(file->is_adoptable());
    EXPECT_NE(file->fresh_reason().find(test.said), std::string::npos) << file->fresh_reason();
  }
}

TEST_F(FlowFileTest, a_cut_off_file_is_begun_anew) {
  { auto file = FlowFile::open(path_, {1'024, 1}); }
  ASSERT_EQ(truncate(path_.c_str(), 8'192), 0);
  auto file = FlowFile::open(path_, {1'024, 1});
  ASSERT_TRUE(file);
  EXPECT_NE(file->fresh_reason().find("shorter"), std::string::npos) << file->fresh_reason();
  EXPECT_EQ(file->records_of(0).size(), 1'024u);
}

TEST_F(FlowFileTest, two_processes_cannot_hold_it) {
  auto first = FlowFile::open(path_, {64, 1});
  auto second = FlowFile::open(path_, {64, 1});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another sluice-dataplane"), std::string::npos);
}

TEST_F(FlowFileTest, says_where_it_could_not_be_made) {
  const auto refused = FlowFile::open(directory_ + "/nowhere/flows", {64, 1});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("nowhere/flows"), std::string::npos);
}

}  // namespace
}  // namespace sluice::flow_file_test
