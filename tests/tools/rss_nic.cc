// rss_nic: a network card with receive-side scaling, in user space: joins a kernel interface to the queues of a memif and
// spreads the packets that come in by the interface over the queues as a card does: Toeplitz hash with a stated key,
// lower bits, a table that leads to each queue in turn. What comes by any queue leaves by the interface.
// The hash is DPDK's own (rte_softrss), not the product's.
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_thash.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"

namespace sluice::tools {
namespace {

constexpr std::uint16_t burst = 32;
constexpr unsigned idle_us = 50;

struct Settings {
  std::string interface, socket, key;
  std::uint16_t id = 0, queues = 2, mtu = 1'500;
  std::uint32_t table_size = 128;
};

std::vector<std::uint8_t> key_of(const std::string& digits) {
  std::vector<std::uint8_t> key;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) key.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
  if (key.size() < 40) die("--key: 40 bytes in hexadecimal");
  return key;
}

std::uint16_t open_port(const std::string& device, const std::string& arguments, std::uint16_t queues, rte_mempool* pool) {
  std::uint16_t port = 0;
  rte_eth_conf conf{};
  if (rte_eal_hotplug_add("vdev", device.c_str(), arguments.c_str()) != 0 ||
      rte_eth_dev_get_port_by_name(device.c_str(), &port) != 0 || rte_eth_dev_configure(port, queues, queues, &conf) != 0) {
    die(device + "," + arguments + ": " + rte_strerror(rte_errno));
  }
  for (std::uint16_t queue = 0; queue < queues; ++queue) {
    if (rte_eth_rx_queue_setup(port, queue, 1'024, SOCKET_ID_ANY, nullptr, pool) != 0 ||
        rte_eth_tx_queue_setup(port, queue, 1'024, SOCKET_ID_ANY, nullptr) != 0) {
      die(device + ": queue " + std::to_string(queue));
    }
  }
  if (rte_eth_dev_start(port) != 0) die(device + " does not start");
  rte_eth_promiscuous_enable(port);
  return port;
}

class Card {
 public:
  Card(const Settings& settings, std::vector<std::uint8_t> key) : settings_(settings), key_(std::move(key)), by_queue_(settings.queues) {
    // In one buffer also what is larger than usual.
    const std::uint16_t room = static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + settings.mtu + 64);
    pool_ = rte_pktmbuf_pool_create("packets", 8'191, 128, 0, std::max<std::uint16_t>(room, RTE_MBUF_DEFAULT_BUF_SIZE), SOCKET_ID_ANY);
    if (pool_ == nullptr) die("no memory for packets");
    const std::string frame = std::to_string(settings.mtu > 1'900 ? 16'384 : 2'048);
    const std::string block = std::to_string(settings.mtu > 1'900 ? 65'536 : 4'096);
    wire_ = open_port("net_af_packet0", "iface=" + settings.interface + ",qpairs=1,framecnt=512,blocksz=" + block + ",framesz=" + frame, 1, pool_);
    host_ = open_port("net_memif0", "role=server,socket=" + settings.socket + ",socket-abstract=no,bsize=" + frame + ",id=" + std::to_string(settings.id),
                      settings.queues, pool_);
  }

  void run() {
    while (!stop_requested()) {
      if (take_from_wire() + take_from_host() == 0) usleep(idle_us);
    }
  }

  Json result() const {
    return {{"event", "result"}, {"by_queue", by_queue_}, {"to_wire", to_wire_}, {"lost", lost_}};
  }

 private:
  // What is no TCP or UDP has queue 0, as a card that hashes nothing else.
  std::uint16_t queue_of(const rte_mbuf& packet) const {
    const auto* frame = rte_pktmbuf_mtod(&packet, const std::uint8_t*);
    std::array<std::uint8_t, 36> input{};
    std::size_t bytes = 0;
    if (packet.data_len < 58) return 0;
    if (frame[12] == 0x08 && frame[13] == 0x00) {
      const std::size_t l4 = 14 + (frame[14] & 0xfu) * 4;
      if ((frame[23] != 6 && frame[23] != 17) || (frame[20] & 0x3f) != 0 || frame[21] != 0) return 0;
      std::copy_n(frame + 26, 8, input.begin());
      std::copy_n(frame + l4, 4, input.begin() + 8);
      bytes = 12;
    } else if (frame[12] == 0x86 && frame[13] == 0xdd) {
      if (frame[20] != 6 && frame[20] != 17) return 0;
      std::copy_n(frame + 22, 32, input.begin());
      std::copy_n(frame + 54, 4, input.begin() + 32);
      bytes = 36;
    } else {
      return 0;
    }
    std::array<std::uint32_t, 9> words{};
    for (std::size_t i = 0; i < bytes; ++i) words[i / 4] = words[i / 4] << 8 | input[i];
    const std::uint32_t hash = rte_softrss(words.data(), static_cast<std::uint32_t>(bytes / 4), key_.data());
    return static_cast<std::uint16_t>(hash % settings_.table_size % settings_.queues);
  }

  void send(std::uint16_t port, std::uint16_t queue, rte_mbuf* packet, std::uint64_t& sent) {
    if (rte_eth_tx_burst(port, queue, &packet, 1) == 1) {
      ++sent;
      return;
    }
    ++lost_;
    rte_pktmbuf_free(packet);
  }

  unsigned take_from_wire() {
    std::array<rte_mbuf*, burst> packets;
    const std::uint16_t count = rte_eth_rx_burst(wire_, 0, packets.data(), burst);
    for (std::uint16_t i = 0; i < count; ++i) {
      const std::uint16_t queue = queue_of(*packets[i]);
      send(host_, queue, packets[i], by_queue_[queue]);
    }
    return count;
  }

  unsigned take_from_host() {
    unsigned total = 0;
    for (std::uint16_t queue = 0; queue < settings_.queues; ++queue) {
      std::array<rte_mbuf*, burst> packets;
      const std::uint16_t count = rte_eth_rx_burst(host_, queue, packets.data(), burst);
      for (std::uint16_t i = 0; i < count; ++i) send(wire_, 0, packets[i], to_wire_);
      total += count;
    }
    return total;
  }

  Settings settings_;
  std::vector<std::uint8_t> key_;
  rte_mempool* pool_ = nullptr;
  std::uint16_t wire_ = 0, host_ = 0;
  std::vector<std::uint64_t> by_queue_;
  std::uint64_t to_wire_ = 0, lost_ = 0;
};

}  // namespace
}  // namespace sluice::tools

int main(int argc, char** argv) {
  using namespace sluice::tools;
  Settings settings;
  sluice::CommandLine command{"A network card with RSS between a kernel interface and a memif."};
  command.add("--interface", settings.interface, "kernel interface").required();
  command.add("--socket", settings.socket, "memif socket, to listen on").required();
  command.add("--key", settings.key, "hash key in hexadecimal").required();
  command.add("--id", settings.id, "memif id");
  command.add("--queues", settings.queues);
  command.add("--mtu", settings.mtu);
  command.add("--table-size", settings.table_size);
  if (const auto status = command.parse(argc, argv)) return *status;
  std::vector<std::string> words = {"rss_nic", "--in-memory", "--iova-mode=va", "--no-pci", "--no-telemetry", "--log-level=*:error"};
  std::vector<char*> eal;
  for (std::string& word : words) eal.push_back(word.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) die(std::string("EAL: ") + rte_strerror(rte_errno));
  Card card(settings, key_of(settings.key));
  install_signal_handlers();
  card.run();
  print_line(card.result());
}
