// trunk: the VLAN half of a switch, in user space. What comes in by an access interface leaves by the trunk with the tag
// of its VLAN (IEEE 802.1Q); what comes in by the trunk with a known tag leaves by that access interface without it.
// For a kernel that has no VLAN devices.
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "perf/common/command_line.h"
#include "tests/tools/common.h"

namespace sluice::tools::trunk {
namespace {

constexpr std::size_t macs_bytes = 2 * ETH_ALEN;
constexpr std::size_t tag_bytes = 4;
constexpr std::size_t frame_bytes_max = 65'536;

struct Frame {
  std::array<std::uint8_t, frame_bytes_max + tag_bytes> room;
  std::uint8_t* data = room.data() + tag_bytes;  // a tag may be put before it
  std::size_t bytes = 0;

  void put_tag(std::uint16_t control) {
    std::memmove(data - tag_bytes, data, macs_bytes);
    data -= tag_bytes;
    bytes += tag_bytes;
    const std::uint8_t tag[] = {0x81, 0x00, static_cast<std::uint8_t>(control >> 8), static_cast<std::uint8_t>(control)};
    std::memcpy(data + macs_bytes, tag, sizeof tag);
  }
};

int open_interface(const std::string& name) {
  const int socket = ::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
  if (socket < 0 || address.sll_ifindex == 0) die("interface " + name + ": " + errno_name(errno));
  const int on = 1, buffer_bytes = 4 << 20;
  packet_mreq promiscuous{address.sll_ifindex, PACKET_MR_PROMISC, 0, {}};
  setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
  if (setsockopt(socket, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) != 0 ||
      setsockopt(socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0 ||
      bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    die("interface " + name + ": " + errno_name(errno));
  }
  return socket;
}

// The kernel takes the tag off and tells it beside the frame. False: nothing to be had.
bool receive(int socket, Frame& frame, std::optional<std::uint16_t>& control, bool& is_our_own) {
  frame.data = frame.room.data() + tag_bytes;
  sockaddr_ll from{};
  iovec part{frame.data, frame_bytes_max};
  alignas(cmsghdr) char beside[CMSG_SPACE(sizeof(tpacket_auxdata))];
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = beside;
  message.msg_controllen = sizeof beside;
  const ssize_t bytes = recvmsg(socket, &message, 0);
  if (bytes < 0) return false;
  frame.bytes = static_cast<std::size_t>(bytes);
  is_our_own = from.sll_pkttype == PACKET_OUTGOING;
  control.reset();
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_PACKET || item->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata auxiliary;
    std::memcpy(&auxiliary, CMSG_DATA(item), sizeof auxiliary);
    if ((auxiliary.tp_status & TP_STATUS_VLAN_VALID) != 0) control = auxiliary.tp_vlan_tci;
  }
  return true;
}

struct Access {
  std::uint16_t vlan = 0;
  int socket = -1;
  std::uint64_t to_trunk = 0, from_trunk = 0;
};

class Trunk {
 public:
  Trunk(int trunk, std::vector<Access> accesses) : trunk_(trunk), accesses_(std::move(accesses)) {}

  void run() {
    std::vector<pollfd> polled{{trunk_, POLLIN, 0}};
    for (const Access& access : accesses_) polled.push_back({access.socket, POLLIN, 0});
    while (!stop_requested()) {
      if (poll(polled.data(), polled.size(), 200) <= 0) continue;
      if (polled[0].revents != 0) take_from_trunk();
      for (std::size_t i = 0; i < accesses_.size(); ++i) {
        if (polled[i + 1].revents != 0) take_from(accesses_[i]);
      }
    }
  }

  Json result() const {
    Json vlans = Json::array();
    for (const Access& access : accesses_) {
      vlans.push_back({{"vlan", access.vlan}, {"to_trunk", access.to_trunk}, {"from_trunk", access.from_trunk}});
    }
    return {{"event", "result"}, {"vlans", vlans}, {"untagged", untagged_}, {"unknown", unknown_}};
  }

 private:
  void take_from_trunk() {
    std::optional<std::uint16_t> control;
    bool is_our_own = false;
    while (receive(trunk_, frame_, control, is_our_own)) {
      if (is_our_own) continue;
      if (!control) {
        ++untagged_;
        continue;
      }
      bool is_known = false;
      for (Access& access : accesses_) {
        if (access.vlan != (*control & 0x0fff)) continue;
        is_known = true;
        ++access.from_trunk;
        (void)!send(access.socket, frame_.data, frame_.bytes, 0);
      }
      if (!is_known) ++unknown_;
    }
  }

  void take_from(Access& access) {
    std::optional<std::uint16_t> control;
    bool is_our_own = false;
    while (receive(access.socket, frame_, control, is_our_own)) {
      if (is_our_own) continue;
      frame_.put_tag(access.vlan);
      ++access.to_trunk;
      (void)!send(trunk_, frame_.data, frame_.bytes, 0);
    }
  }

  int trunk_;
  std::vector<Access> accesses_;
  Frame frame_;
  std::uint64_t untagged_ = 0, unknown_ = 0;
};

}  // namespace

int run(int argc, char** argv) {
  std::string trunk;
  std::vector<std::string> accesses;
  sluice::CommandLine command{"Join untagged interfaces to one that carries VLAN tags."};
  command.add("--trunk", trunk, "interface with tagged frames").required();
  command.add("--access", accesses, "VLAN=INTERFACE, as often as there are VLANs").required();
  if (const auto status = command.parse(argc, argv)) return *status;
  std::vector<Access> opened;
  for (const std::string& access : accesses) {
    const std::size_t equals = access.find('=');
    if (equals == std::string::npos) die("'" + access + "' is no VLAN=INTERFACE");
    opened.push_back({static_cast<std::uint16_t>(std::stoul(access.substr(0, equals))), open_interface(access.substr(equals + 1))});
  }
  Trunk joined(open_interface(trunk), std::move(opened));
  install_signal_handlers();
  joined.run();
  print_line(joined.result());
  return 0;
}

}  // namespace sluice::tools::trunk
