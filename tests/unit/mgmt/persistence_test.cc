// What is on disk: whole or not at all, and refused when damaged.
#include "mgmt/server/persistence.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "mgmt/commit/state_dir.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::persistence_test {
namespace {

TEST(StateDirTest, WritesAndReads) {
  TemporaryFolder folder;
  auto state = StateDir::open(folder.path() + "/state");
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(*state->read("config/objects.yaml"), std::nullopt);
  ASSERT_TRUE(state->write("config/objects.yaml", "one", Durability::synced));
  ASSERT_TRUE(state->write("config/objects.yaml", "two", Durability::synced));
  EXPECT_EQ(**state->read("config/objects.yaml"), "two");
}

TEST(StateDirTest, HasOneOwner) {
  TemporaryFolder folder;
  auto first = StateDir::open(folder.path());
  ASSERT_TRUE(first);
  auto second = StateDir::open(folder.path());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another sluice-mgmt owns this folder"), std::string::npos);
}

TEST(StateDirTest, ATornWriteLeavesTheOldText) {
  TemporaryFolder folder;
  auto state = StateDir::open(folder.path());
  ASSERT_TRUE(state);
  ASSERT_TRUE(state->write("ids", "old", Durability::synced));
  std::ofstream(folder.path() + "/ids.new") << "half of the n";  // a writer died here
  EXPECT_EQ(**state->read("ids"), "old");
  ASSERT_TRUE(state->write("ids", "new", Durability::synced));
  EXPECT_EQ(**state->read("ids"), "new");
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/ids.new"));
}

TEST(StateDirTest, AWriteThatCannotBeSaysWhereAndLeavesTheOldText) {
  TemporaryFolder folder;
  auto state = StateDir::open(folder.path());
  ASSERT_TRUE(state);
  ASSERT_TRUE(state->write("ids", "old", Durability::synced));
  std::filesystem::create_directory(folder.path() +
                                    "/ids.new");  // in the way of the temporary file
  const auto written = state->write("ids", "new", Durability::synced);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find(folder.path() + "/ids.new"), std::string::npos);
  EXPECT_EQ(**state->read("ids"), "old");
}

TEST(PersistenceTest, IdsRoundTrip) {
  IdMap ids;
  ASSERT_TRUE(ids.cover(objects_from(base_yaml())));
  ASSERT_TRUE(ids.cover(
      objects_from(replaced(base_yaml(), "{name: web-1}, {name: web-2}", "{name: web-2}"))));
  const auto again = decode_ids(encode_ids(ids));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->endpoints.entries(), ids.endpoints.entries());
  EXPECT_EQ(again->vips.entries(), ids.vips.entries());
  EXPECT_EQ(encode_ids(*again), encode_ids(ids));
}

TEST(PersistenceTest, DrainsAndHealthRoundTrip) {
  const Drains drains = {{{"endpoint", "default", "a"}, 5}, {{"endpoint", "shop", "b"}, 7}};
  EXPECT_EQ(*decode_drains(encode_drains(drains)), drains);
  HealthFile file;
  file.boot_id = "b00t";
  file.generation = 12;
  file.content_crc = 0xdeadbeef;
  file.records[{{"endpoint", "default", "a"}, {"healthcheck", "default", "tcp"}}] = {
      HealthVerdict::down, "connecting: refused", 99};
  file.records[{{"endpoint", "default", "b"}, {"healthcheck", "default", "tcp"}}] = {
      HealthVerdict::up, "", 100};
  const auto again = decode_health(encode_health(file));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->records, file.records);
  EXPECT_EQ(again->generation, 12u);
  EXPECT_EQ(again->content_crc, 0xdeadbeefu);
  EXPECT_EQ(again->boot_id, "b00t");
}

TEST(PersistenceTest, EveryDamagedByteIsNoticed) {
  IdMap ids;
  ASSERT_TRUE(ids.cover(objects_from(base_yaml())));
  const std::string good = encode_ids(ids);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(decode_ids(bad)) << "byte " << i;
    EXPECT_FALSE(decode_ids(good.substr(0, i))) << "cut at " << i;
  }
}

}  // namespace
}  // namespace sluice::persistence_test
