#include "dataplane/io/rtnetlink.h"

#include <errno.h>
#include <fmt/core.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint32_t table_base = 0x534c'0000;
constexpr std::uint32_t rule_priority = 5'300;  // before the main table, after `local`
constexpr std::uint16_t rule_add_flags = NLM_F_CREATE | NLM_F_EXCL;

std::uint8_t family_of(IpAddress address) { return address.is_v4() ? AF_INET : AF_INET6; }
std::uint8_t bits_of(IpAddress address) { return address.is_v4() ? 32 : 128; }

}  // namespace

std::uint32_t exception_table(const std::string& interface) {
  std::uint32_t hash = 0;
  for (const char c : interface) hash = hash * 31 + static_cast<unsigned char>(c);
  return table_base + (hash & 0xffff);
}

// One message: header, fixed part, attributes.
class RtNetlink::Request {
 public:
  template <class Fixed>
  Request(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    header().nlmsg_type = type;
    header().nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    header().nlmsg_len = NLMSG_LENGTH(sizeof fixed);
    std::memcpy(NLMSG_DATA(&header()), &fixed, sizeof fixed);
  }

  Request& attribute(std::uint16_t type, const void* content, std::size_t bytes) {
    auto* place = reinterpret_cast<rtattr*>(bytes_.data() + NLMSG_ALIGN(header().nlmsg_len));
    place->rta_type = type;
    place->rta_len = static_cast<std::uint16_t>(RTA_LENGTH(bytes));
    std::memcpy(RTA_DATA(place), content, bytes);
    header().nlmsg_len = static_cast<std::uint32_t>(NLMSG_ALIGN(header().nlmsg_len) + RTA_ALIGN(place->rta_len));
    return *this;
  }
  Request& attribute(std::uint16_t type, std::uint32_t number) { return attribute(type, &number, sizeof number); }
  Request& attribute(std::uint16_t type, IpAddress address) {
    const auto bytes = address.bytes();
    return address.is_v4() ? attribute(type, bytes.data() + 12, 4) : attribute(type, bytes.data(), 16);
  }

  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }

 private:
  alignas(nlmsghdr) std::array<char, 512> bytes_{};
};

Result<RtNetlink> RtNetlink::open() {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return fail(fmt::format("no netlink socket: {}", strerror(errno)));
  return RtNetlink(std::move(fd));
}

Result<void> RtNetlink::send(Request& request, const char* step) {
  if (::send(socket_.get(), &request.header(), request.header().nlmsg_len, 0) < 0) {
    return fail(fmt::format("{}: {}", step, strerror(errno)));
  }
  alignas(nlmsghdr) std::array<char, 4096> reply;
  const ssize_t received = recv(socket_.get(), reply.data(), reply.size(), 0);
  const auto* header = reinterpret_cast<const nlmsghdr*>(reply.data());
  if (received < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))) || header->nlmsg_type != NLMSG_ERROR) {
    return fail(fmt::format("{}: the kernel gave no acknowledgment", step));
  }
  const int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
  if (error != 0) return fail(fmt::format("{}: {}", step, strerror(error)));
  return {};
}

Result<void> RtNetlink::set_up_quietly(unsigned interface, std::uint16_t mtu) {
  ifinfomsg link{};
  link.ifi_family = AF_UNSPEC;
  link.ifi_index = static_cast<int>(interface);
  link.ifi_change = IFF_UP;
  Request down(RTM_NEWLINK, 0, link);
  if (auto done = send(down, "set down"); !done) return done;

  // IFLA_AF_SPEC { AF_INET6 { IFLA_INET6_ADDR_GEN_MODE } }
  struct {
    rtattr family;
    rtattr mode;
    std::uint8_t value;
    std::uint8_t padding[3];
  } spec{};
  spec.mode.rta_len = RTA_LENGTH(1);
  spec.mode.rta_type = IFLA_INET6_ADDR_GEN_MODE;
  spec.value = IN6_ADDR_GEN_MODE_NONE;
  spec.family.rta_len = sizeof spec;
  spec.family.rta_type = AF_INET6;
  link.ifi_change = 0;
  Request quiet(RTM_NEWLINK, 0, link);
  quiet.attribute(IFLA_AF_SPEC, &spec, sizeof spec).attribute(IFLA_MTU, std::uint32_t{mtu});
  if (auto done = send(quiet, "set MTU and address mode"); !done) return done;

  link.ifi_change = IFF_UP;
  link.ifi_flags = IFF_UP;
  Request up(RTM_NEWLINK, 0, link);
  return send(up, "set up");
}

Result<MacAddress> RtNetlink::mac_of(const std::string& interface) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), sizeof request.ifr_name - 1);
  if (!fd || ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) {
    return fail(fmt::format("read hardware address: {}", strerror(errno)));
  }
  MacAddress mac{};
  std::memcpy(mac.bytes.data(), request.ifr_hwaddr.sa_data, mac.bytes.size());
  return mac;
}

Result<void> RtNetlink::add_address(unsigned interface, IpAddress address) {
  ifaddrmsg fixed{};
  fixed.ifa_family = family_of(address);
  fixed.ifa_prefixlen = bits_of(address);
  fixed.ifa_flags = IFA_F_NODAD;
  fixed.ifa_index = interface;
  Request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.attribute(IFA_LOCAL, address).attribute(IFA_ADDRESS, address);
  return send(request, "add address");
}

Result<void> RtNetlink::remove_address(unsigned interface, IpAddress address) {
  ifaddrmsg fixed{};
  fixed.ifa_family = family_of(address);
  fixed.ifa_prefixlen = bits_of(address);
  fixed.ifa_index = interface;
  Request request(RTM_DELADDR, 0, fixed);
  request.attribute(IFA_LOCAL, address).attribute(IFA_ADDRESS, address);
  return send(request, "remove address");
}

Result<void> RtNetlink::add_neighbor(unsigned interface, IpAddress address, MacAddress mac) {
  ndmsg fixed{};
  fixed.ndm_family = family_of(address);
  fixed.ndm_ifindex = static_cast<int>(interface);
  fixed.ndm_state = NUD_PERMANENT;
  Request request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.attribute(NDA_DST, address).attribute(NDA_LLADDR, mac.bytes.data(), mac.bytes.size());
  return send(request, "add neighbour");
}

Result<void> RtNetlink::add_default_route(unsigned interface, IpAddress gateway, std::uint32_t table) {
  rtmsg fixed{};
  fixed.rtm_family = family_of(gateway);
  fixed.rtm_table = RT_TABLE_UNSPEC;
  fixed.rtm_protocol = RTPROT_STATIC;
  fixed.rtm_scope = RT_SCOPE_UNIVERSE;
  fixed.rtm_type = RTN_UNICAST;
  fixed.rtm_flags = RTNH_F_ONLINK;
  Request request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.attribute(RTA_TABLE, table).attribute(RTA_GATEWAY, gateway).attribute(RTA_OIF, std::uint32_t{interface});
  return send(request, "add route");
}

Result<void> RtNetlink::add_rule(IpAddress source, std::uint32_t table) {
  fib_rule_hdr fixed{};
  fixed.family = family_of(source);
  fixed.src_len = bits_of(source);
  fixed.action = FR_ACT_TO_TBL;
  Request request(RTM_NEWRULE, rule_add_flags, fixed);
  request.attribute(FRA_SRC, source).attribute(FRA_TABLE, table).attribute(FRA_PRIORITY, rule_priority);
  return send(request, "add rule");
}

Result<void> RtNetlink::remove_rule(IpAddress source, std::uint32_t table) {
  fib_rule_hdr fixed{};
  fixed.family = family_of(source);
  fixed.src_len = bits_of(source);
  Request request(RTM_DELRULE, 0, fixed);
  request.attribute(FRA_SRC, source).attribute(FRA_TABLE, table).attribute(FRA_PRIORITY, rule_priority);
  return send(request, "remove rule");
}

Result<void> RtNetlink::remove_rules_of(std::uint32_t table) {
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    // The kernel deletes the first rule that fits; at most as many times as there can be addresses.
    for (int i = 0; i < 4'096; ++i) {
      fib_rule_hdr fixed{};
      fixed.family = family;
      Request request(RTM_DELRULE, 0, fixed);
      request.attribute(FRA_TABLE, table).attribute(FRA_PRIORITY, rule_priority);
      if (!send(request, "remove rule")) break;
    }
  }
  return {};
}

}  // namespace sluice
