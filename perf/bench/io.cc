#include "perf/bench/io.h"

#include <fmt/core.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "dataplane/lcore/clock.h"
#include "dataplane/lcore/worker.h"
#include "perf/bench/rig.h"
#include "perf/common/port.h"

namespace sluice::perf {
namespace {

// Classic pcap, https://www.ietf.org/archive/id/draft-gharris-opsawg-pcap-01.html
struct PcapHeader {
  std::uint32_t magic = 0xa1b2c3d4;
  std::uint16_t major = 2, minor = 4;
  std::uint32_t reserved[2] = {};
  std::uint32_t snap_bytes = 65'535;
  std::uint32_t link_type = 1;  // Ethernet
};
struct PcapRecord {
  std::uint32_t seconds = 0, microseconds = 0, captured_bytes = 0, bytes = 0;
};

std::uint16_t open(const std::string& device, rte_mempool* pool) {
  const auto port = open_port(device, pool);
  if (!port) broken(port.error().message);
  return *port;
}

}  // namespace

void write_capture(const std::string& path, std::uint32_t flows, std::uint32_t packets) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) broken(path + ": cannot be written");
  const PcapHeader header;
  std::fwrite(&header, sizeof header, 1, file);
  for (std::uint32_t i = 0; i < packets; ++i) {
    Frame frame[2];
    PcapRecord record;
    record.bytes = record.captured_bytes =
        write_frame(frame[0].bytes, key_of(i % flows, protocol::udp, false), 0);
    std::fwrite(&record, sizeof record, 1, file);
    std::fwrite(frame, record.bytes, 1, file);
  }
  if (std::fclose(file) != 0) broken(path + ": cannot be written");
}

Figure measure_worker(const std::string& capture, std::uint32_t flows, int repeats,
                      double seconds) {
  Setup setup;
  setup.flows = flows;
  setup.protocol_number = protocol::udp;
  setup.now = {monotonic_ns() / 1'000'000};
  Rig rig(setup);
  rte_mempool* pool = rte_pktmbuf_pool_create("io", 32'767, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
  if (pool == nullptr) broken("no memory for packet buffers");
  const std::uint16_t in =
      open(fmt::format("net_pcap0,rx_pcap={},infinite_rx=1", capture), pool);
  const std::uint16_t out = open("net_null0", pool);

  // Row 0 of the snapshot is slot 0: received on the capture, sent to nothing.
  WorkerPlan plan;
  plan.queues = {{in, 0, 0}};
  plan.ports = {{.mac = our_mac, .mtu = 1'500, .is_present = true}};
  plan.settle.ports = {{out, 0, nullptr}};
  plan.settle.pool = pool;
  const SnapshotBuffer buffer = make_snapshot(setup, 1);
  char path[] = "/tmp/sluice-bench-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0 || write(file, buffer.bytes().data(), buffer.bytes().size()) < 0)
    broken("no temporary file");
  close(file);
  auto memory = SnapshotMemory::of_file(path);
  unlink(path);
  if (!memory) broken(memory.error().message);
  auto published = Published::verify(std::move(*memory));
  if (!published) broken(published.error().message);
  (*published)->slot_of_row[0] = 0;
  const std::atomic<const Published*> current{published->get()};
  auto* readers =
      static_cast<rte_rcu_qsbr*>(rte_zmalloc("readers", rte_rcu_qsbr_get_memsize(1), 64));
  rte_rcu_qsbr_init(readers, 1);

  Worker worker(std::move(plan), rig.take_world(), current, readers);
  const Counters& counters = worker.world().counters;
  const std::uint64_t opening = counters.of(Verdict::forward).read();  // the rig's own packets
  std::thread lcore([&] {
    // As an lcore of the product it has a cache of packet buffers: without, each would go round through the whole pool.
    if (rte_thread_register() != 0) broken("the worker cannot be registered as an lcore");
    worker.run();
    rte_thread_unregister();
  });
  const auto sample = [&] {
    const std::uint64_t before = counters.of(Verdict::forward).read();
    const std::uint64_t begin = tsc();
    const double until = wall_seconds() + seconds;
    while (wall_seconds() < until) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return static_cast<double>(tsc() - begin) /
           static_cast<double>(counters.of(Verdict::forward).read() - before);
  };
  sample();  // the first packets, cold
  // Not calibrated: the worker has a core of its own, this thread sleeps.
  std::vector<double> samples;
  for (int i = 0; i < repeats; ++i) samples.push_back(sample());
  worker.stop();
  lcore.join();
  const std::uint64_t received = counters.received.read();
  const std::uint64_t forwarded = counters.of(Verdict::forward).read() - opening;
  if (forwarded != received) {
    broken(fmt::format("with I/O {} of {} packets were not forwarded", received - forwarded,
                       received));
  }
  rte_free(readers);
  for (const std::uint16_t port : {in, out}) {
    close_port(port);
  }
  rte_mempool_free(pool);
  return figure_of(samples);
}

}  // namespace sluice::perf
