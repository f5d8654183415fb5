#include "tests/tools/raw_port.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tests/tools/common.h"

namespace sluice::tools {
namespace {

constexpr std::uint32_t slot_bytes = 2048;  // a frame of 1,514 bytes and what the kernel writes before it
constexpr std::uint32_t block_bytes = 1 << 16;

void set(int fd, int option, const void* value, socklen_t bytes, const char* name) {
  if (setsockopt(fd, SOL_PACKET, option, value, bytes) < 0) die(std::string(name) + ": " + errno_name(errno));
}

void set(int fd, int option, int value, const char* name) { set(fd, option, &value, sizeof value, name); }

std::uint32_t status_of(tpacket2_hdr& slot) {
  return std::atomic_ref(slot.tp_status).load(std::memory_order_acquire);  // pairs with the kernel's barrier
}

}  // namespace

Mac parse_mac(const std::string& text) {
  Mac mac{};
  int end = 0;
  const int read = std::sscanf(text.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                               &mac[5], &end);
  if (read != 6 || text.size() != static_cast<std::size_t>(end)) die("'" + text + "' is not a hardware address");
  return mac;
}

RawPort::RawPort(const std::string& interface, std::uint32_t ring_frames)
    : interface_(interface), ring_frames_(ring_frames), messages_(batch_max), pieces_(batch_max) {
  // Protocol 0: nothing is received before the ring is there and the socket is bound.
  fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd_ < 0) die("AF_PACKET socket: " + errno_name(errno));
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (ioctl(fd_, SIOCGIFHWADDR, &request) < 0) die(interface + ": " + errno_name(errno));
  std::memcpy(mac_.data(), request.ifr_hwaddr.sa_data, mac_.size());
  set(fd_, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS");
  if (ring_frames_ > 0) {
    set(fd_, PACKET_VERSION, TPACKET_V2, "TPACKET_V2");
    set(fd_, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
    ring_frames_ = (ring_frames_ * slot_bytes + block_bytes - 1) / block_bytes * (block_bytes / slot_bytes);
    const tpacket_req ring{block_bytes, ring_frames_ * slot_bytes / block_bytes, slot_bytes, ring_frames_};
    set(fd_, PACKET_RX_RING, &ring, sizeof ring, "PACKET_RX_RING");
    void* memory = mmap(nullptr, std::size_t{ring_frames_} * slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
    if (memory == MAP_FAILED) die("ring of " + interface + ": " + errno_name(errno));
    ring_ = static_cast<std::uint8_t*>(memory);
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ring_frames_ > 0 ? ETH_P_ALL : 0);
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
  if (bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die(interface + ": " + errno_name(errno));
  for (unsigned i = 0; i < batch_max; ++i) {
    messages_[i].msg_hdr.msg_iov = &pieces_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

RawPort::~RawPort() {
  if (ring_ != nullptr) munmap(ring_, std::size_t{ring_frames_} * slot_bytes);
  close(fd_);
}

std::span<std::uint8_t> RawPort::next() {
  auto* at = ring_ + std::size_t{position_} * slot_bytes;
  auto& slot = *reinterpret_cast<tpacket2_hdr*>(at);
  const std::uint32_t status = status_of(slot);
  // The second: the ring came round to what was handed out and not released yet.
  if ((status & TP_STATUS_USER) == 0 || (position_ + 1) % ring_frames_ == released_) return {};
  if ((status & TP_STATUS_CSUMNOTREADY) != 0) {
    die(interface_ + ": the sender leaves checksums to hardware; switch its offloads off (ethtool -K ... tx off)");
  }
  position_ = (position_ + 1) % ring_frames_;
  return {at + slot.tp_mac, slot.tp_snaplen};
}

void RawPort::release() {
  for (; released_ != position_; released_ = (released_ + 1) % ring_frames_) {
    auto& slot = *reinterpret_cast<tpacket2_hdr*>(ring_ + std::size_t{released_} * slot_bytes);
    std::atomic_ref(slot.tp_status).store(TP_STATUS_KERNEL, std::memory_order_release);  // pairs with the kernel's barrier
  }
}

void RawPort::send(std::span<const std::uint8_t> frame) {
  pieces_[queued_] = {const_cast<std::uint8_t*>(frame.data()), frame.size()};
  if (++queued_ == batch_max) flush();
}

void RawPort::flush() {
  for (unsigned first = 0; first < queued_;) {
    const int sent = sendmmsg(fd_, &messages_[first], queued_ - first, 0);
    if (sent < 0 && errno == EINTR) continue;
    if (sent > 0) {
      sent_ += static_cast<unsigned>(sent);
      first += static_cast<unsigned>(sent);
    } else {  // refused: the one it stopped at
      ++send_failed_;
      ++first;
    }
  }
  queued_ = 0;
}

std::uint64_t RawPort::ring_full() {
  tpacket_stats stats{};
  socklen_t bytes = sizeof stats;
  if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &stats, &bytes) == 0) ring_full_ += stats.tp_drops;  // reading clears it
  return ring_full_;
}

}  // namespace sluice::tools
