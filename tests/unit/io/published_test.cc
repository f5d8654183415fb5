#include "dataplane/lcore/published.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/io/small_snapshot.h"

namespace sluice::published_test {
namespace {

Fd memfd_of(std::span<const std::byte> bytes, int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) {
  Fd fd(memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

Result<std::unique_ptr<Published>> verify(const Fd& fd) {
  auto memory = SnapshotMemory::of_sealed(fd);
  if (!memory) return tl::unexpected(memory.error());
  return Published::verify(std::move(*memory));
}

TEST(Published, a_sealed_snapshot_is_taken) {
  const auto buffer = small_snapshot(42);
  const auto published = verify(memfd_of(buffer.bytes()));
  ASSERT_TRUE(published) << published.error().message;
  EXPECT_EQ((*published)->tables.generation(), 42u);
}

TEST(Published, whatever_could_still_change_is_refused) {
  const auto buffer = small_snapshot(1);
  for (const int seals : {0, F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_GROW}) {
    const auto refused = verify(memfd_of(buffer.bytes(), seals));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("not sealed"), std::string::npos);
  }
  EXPECT_FALSE(verify(Fd()));
  EXPECT_FALSE(verify(Fd(open("/dev/null", O_RDONLY))));
  EXPECT_FALSE(verify(memfd_of({})));
}

TEST(Published, damage_and_other_formats_are_refused_by_name) {
  const auto buffer = small_snapshot(1);
  std::vector<std::byte> bytes(buffer.bytes().begin(), buffer.bytes().end());
  const auto refusal = [](std::vector<std::byte> changed) {
    const auto refused = verify(memfd_of(changed));
    return refused ? std::string("taken") : refused.error().message;
  };
  auto flipped = bytes;
  flipped[flipped.size() / 2] ^= std::byte{1};
  EXPECT_NE(refusal(flipped).find("damaged"), std::string::npos);
  auto other_format = bytes;
  other_format[offsetof(SnapshotHeader, format)] ^= std::byte{0x40};
  EXPECT_NE(refusal(other_format).find("format"), std::string::npos);
  auto cut = bytes;
  cut.resize(cut.size() - 64);
  EXPECT_NE(refusal(cut).find("truncated"), std::string::npos);
}

TEST(Published, is_saved_and_read_back) {
  char pattern[] = "/tmp/sluice-published-XXXXXX";
  const std::string directory = mkdtemp(pattern);
  const std::string path = directory + "/snapshot";
  const auto buffer = small_snapshot(7);
  ASSERT_TRUE(save_snapshot(*Snapshot::verify(buffer.bytes()), path));
  auto memory = SnapshotMemory::of_file(path);
  ASSERT_TRUE(memory);
  const auto published = Published::verify(std::move(*memory));
  ASSERT_TRUE(published);
  EXPECT_EQ((*published)->tables.generation(), 7u);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));

  std::filesystem::resize_file(path, 100);
  auto cut = SnapshotMemory::of_file(path);
  ASSERT_TRUE(cut);
  EXPECT_FALSE(Published::verify(std::move(*cut)));
  std::filesystem::remove_all(directory);
}

TEST(RestartReasons, name_what_only_a_restart_can_give) {
  const auto now = small_snapshot(1);
  const auto reasons = [&](const std::function<void(SnapshotWriter&)>& change) {
    const auto next = small_snapshot(2, change);
    std::string text;
    for (const auto& reason : restart_reasons(*Snapshot::verify(now.bytes()), *Snapshot::verify(next.bytes()))) {
      text += reason + "|";
    }
    return text;
  };
  EXPECT_EQ(reasons({}), "");
  EXPECT_EQ(reasons([](SnapshotWriter& writer) { writer.node.is_idle_backoff = 1; }), "");
  EXPECT_EQ(reasons([](SnapshotWriter& writer) { writer.node.worker_cpus[0] = 1; }), "node.workers|");
  EXPECT_EQ(reasons([](SnapshotWriter& writer) { writer.node.flow_capacity = 128; }),
            "node.flows.capacity: 128 instead of 64|");
  EXPECT_EQ(reasons([](SnapshotWriter& writer) { writer.add(small_port(writer, "third", "veth2")); }),
            "port third: is new|");
}

}  // namespace
}  // namespace sluice::published_test
