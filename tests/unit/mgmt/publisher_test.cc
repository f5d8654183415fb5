// The publisher against a dataplane that is none: acknowledgement, refusal, restart, no storm.
#include "mgmt/publish/publisher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "mgmt/publish/sealed_memfd.h"
#include "tests/unit/mgmt/world.h"

namespace sluice::publisher_test {
namespace {

std::shared_ptr<const SnapshotBuffer> snapshot(std::uint64_t generation) {
  const ObjectStore objects = objects_from(base_yaml());
  IdMap ids;
  EXPECT_TRUE(ids.cover(objects));
  auto built = compile({objects, real_profiles(), {}, {}, ids, generation, 0});
  EXPECT_TRUE(built);
  return std::make_shared<const SnapshotBuffer>(std::move(*built));
}

TEST(SealedMemfd, CannotBeChanged) {
  const std::string text = "tables";
  const auto fd = sealed_memfd(std::as_bytes(std::span(text.data(), text.size())));
  ASSERT_TRUE(fd);
  EXPECT_EQ(fcntl(fd->get(), F_GET_SEALS),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  EXPECT_LT(pwrite(fd->get(), "x", 1, 0), 0);
}

TEST(PublisherTest, PublishesAndIsAcknowledged) {
  TemporaryFolder folder;
  FakeDataplane dataplane(folder.path());
  Publisher publisher(folder.path() + "/dataplane.sock");
  publisher.publish(snapshot(3), 3);
  EXPECT_TRUE(wait_until([&] { return publisher.status().acknowledged_generation == 3; }));
  EXPECT_EQ(dataplane.generation(), 3u);
  EXPECT_EQ(publisher.status().error, "");
}

TEST(PublisherTest, SaysWhyItIsNotConnectedAndGoesOnTrying) {
  TemporaryFolder folder;
  Publisher publisher(folder.path() + "/dataplane.sock");
  publisher.publish(snapshot(1), 1);
  const PublishStatus status = publisher.wait_for(1, {5'000});
  EXPECT_FALSE(status.is_connected);
  EXPECT_NE(status.error.find("the process is not running"), std::string::npos) << status.error;
  FakeDataplane dataplane(folder.path());
  EXPECT_TRUE(wait_until([&] { return dataplane.generation() == 1; }));
}

TEST(PublisherTest, ARefusedSnapshotGivesWayToTheNext) {
  TemporaryFolder folder;
  FakeDataplane dataplane(folder.path());
  dataplane.refuse_with("ports: no such device veth-out");
  Publisher publisher(folder.path() + "/dataplane.sock");
  EXPECT_TRUE(wait_until([&] { return publisher.status().is_connected; }));
  publisher.publish(snapshot(1), 1);
  const PublishStatus status = publisher.wait_for(1, {5'000});
  EXPECT_EQ(status.refused_generation, 1u);
  EXPECT_EQ(status.error, "ports: no such device veth-out");
  dataplane.refuse_with("");
  publisher.publish(snapshot(2), 2);
  EXPECT_TRUE(wait_until([&] { return dataplane.generation() == 2; }));
  EXPECT_EQ(dataplane.publish_count(), 2u);
}

TEST(PublisherTest, ARefusedSnapshotIsTriedAgainNowAndThen) {
  TemporaryFolder folder;
  FakeDataplane dataplane(folder.path());
  dataplane.refuse_with("port outside: interface veth-out does not exist");
  Publisher publisher(folder.path() + "/dataplane.sock");
  EXPECT_TRUE(wait_until([&] { return publisher.status().is_connected; }));
  publisher.publish(snapshot(1), 1);
  EXPECT_EQ(publisher.wait_for(1, {5'000}).refused_generation, 1u);
  dataplane.refuse_with("");
  EXPECT_TRUE(wait_until([&] { return dataplane.generation() == 1; }));
  EXPECT_EQ(dataplane.publish_count(), 2u) << "no storm";
}

TEST(PublisherTest, ARestartedDataplaneWithAnOldSnapshotGetsTheNewOne) {
  TemporaryFolder folder;
  Publisher publisher(folder.path() + "/dataplane.sock");
  publisher.publish(snapshot(5), 5);
  {
    FakeDataplane first(folder.path());
    EXPECT_TRUE(wait_until([&] { return publisher.status().acknowledged_generation == 5; }));
  }
  EXPECT_TRUE(wait_until([&] { return !publisher.status().is_connected; }));
  FakeDataplane restarted(folder.path(), 4);
  EXPECT_TRUE(wait_until([&] { return restarted.generation() == 5; }));
}

TEST(PublisherTest, ARestartedDataplaneWithTheSameSnapshotIsLeftAlone) {
  TemporaryFolder folder;
  Publisher publisher(folder.path() + "/dataplane.sock");
  publisher.publish(snapshot(5), 5);
  {
    FakeDataplane first(folder.path());
    EXPECT_TRUE(wait_until([&] { return publisher.status().acknowledged_generation == 5; }));
  }
  EXPECT_TRUE(wait_until([&] { return !publisher.status().is_connected; }));
  FakeDataplane restarted(folder.path(), 5);
  EXPECT_TRUE(wait_until([&] { return publisher.status().is_connected; }));
  EXPECT_EQ(publisher.status().acknowledged_generation, 5u);
  EXPECT_EQ(restarted.publish_count(), 0u);
}

TEST(PublisherTest, TheSameNumberIsNotTheSameTables) {
  TemporaryFolder folder;
  FakeDataplane dataplane(folder.path(), 1);
  Publisher publisher(folder.path() + "/dataplane.sock");
  publisher.publish(snapshot(1), 1);
  EXPECT_TRUE(wait_until([&] { return publisher.status().acknowledged_generation == 1; }));
  EXPECT_EQ(dataplane.publish_count(), 1u);
}

TEST(PublisherTest, OnlyTheNewestOfManyIsSent) {
  TemporaryFolder folder;
  Publisher publisher(folder.path() + "/dataplane.sock");
  for (std::uint64_t generation = 1; generation <= 50; ++generation)
    publisher.publish(snapshot(generation), generation);
  FakeDataplane dataplane(folder.path());
  EXPECT_TRUE(wait_until([&] { return dataplane.generation() == 50; }));
  EXPECT_EQ(dataplane.publish_count(), 1u);
}

}  // namespace
}  // namespace sluice::publisher_test
