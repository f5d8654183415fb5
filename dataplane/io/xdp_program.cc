#include "dataplane/io/xdp_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/core.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>

#include "dataplane/base/log.h"

namespace sluice {
namespace {

constexpr std::string_view program_name = "sluice_redirect";
constexpr std::uint32_t maps_max = 16;

struct AttachedProgram {
  std::uint32_t id = 0;
  std::uint32_t attach_flags = 0;
  std::string name;
  std::array<std::uint32_t, maps_max> map_ids{};
  std::uint32_t map_count = 0;
};

// Nothing attached: an empty optional.
Result<std::optional<AttachedProgram>> attached_program(const std::string& interface, unsigned interface_index) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (const int rc = bpf_xdp_query(static_cast<int>(interface_index), 0, &query); rc != 0) {
    return fail(fmt::format("interface {}: cannot ask for its XDP program: {}", interface, strerror(-rc)));
  }
  if (query.attach_mode == 0) return std::optional<AttachedProgram>();
  AttachedProgram program;
  switch (query.attach_mode) {
    case 1:  // XDP_ATTACHED_DRV
      program.id = query.drv_prog_id;
      program.attach_flags = 1u << 2;
      break;
    case 2:  // XDP_ATTACHED_SKB
      program.id = query.skb_prog_id;
      program.attach_flags = 1u << 1;
      break;
    case 3:  // XDP_ATTACHED_HW
      program.id = query.hw_prog_id;
      program.attach_flags = 1u << 3;
      break;
    default:
      return fail(fmt::format("interface {}: carries several XDP programs; detach them with `ip link set dev {} xdp off`",
                              interface, interface));
  }
  const Fd program_fd(bpf_prog_get_fd_by_id(program.id));
  if (!program_fd) {
    return fail(fmt::format("interface {}: cannot open its XDP program {}: {}; CAP_SYS_ADMIN is needed", interface,
                            program.id, strerror(errno)));
  }
  bpf_prog_info info{};
  info.nr_map_ids = maps_max;
  info.map_ids = reinterpret_cast<std::uint64_t>(program.map_ids.data());
  std::uint32_t info_bytes = sizeof info;
  if (bpf_obj_get_info_by_fd(program_fd.get(), &info, &info_bytes) != 0) {
    return fail(fmt::format("interface {}: cannot read about its XDP program: {}", interface, strerror(errno)));
  }
  program.name = std::string(info.name, strnlen(info.name, sizeof info.name));
  program.map_count = std::min(info.nr_map_ids, maps_max);
  return std::optional<AttachedProgram>(program);
}

Result<unsigned> index_of(const std::string& interface) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) {
    return fail(fmt::format("interface {}: does not exist in this network namespace", interface));
  }
  return index;
}

}  // namespace

Result<InterfaceClaim> InterfaceClaim::take(const std::string& interface) {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "sluice-dataplane/" + interface;  // at most 17 + 15 bytes
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) {
    if (errno == EADDRINUSE) {
      return fail(fmt::format("interface {}: another sluice-dataplane serves it; stop that one or name another device",
                              interface));
    }
    return fail(fmt::format("interface {}: cannot claim it: {}", interface, strerror(errno)));
  }
  return InterfaceClaim(std::move(fd));
}

Result<void> detach_stale_xdp_program(const std::string& interface) {
  const auto index = index_of(interface);
  if (!index) return tl::unexpected(index.error());
  const auto attached = attached_program(interface, *index);
  if (!attached) return tl::unexpected(attached.error());
  if (!*attached) return {};
  const AttachedProgram& program = **attached;
  if (program.name != program_name) {
    return fail(fmt::format("interface {}: carries the XDP program \"{}\" (id {}), which is not ours; detach it with "
                            "`ip link set dev {} xdp off` or name another device",
                            interface, program.name, program.id, interface));
  }
  if (const int rc = bpf_xdp_detach(static_cast<int>(*index), program.attach_flags, nullptr); rc != 0) {
    return fail(fmt::format("interface {}: cannot detach the XDP program of the last run: {}", interface, strerror(-rc)));
  }
  log_info("interface {}: detached the XDP program that the last run left behind", interface);
  return {};
}

Result<XdpProgram> XdpProgram::find(const std::string& interface) {
  const auto index = index_of(interface);
  if (!index) return tl::unexpected(index.error());
  const auto attached = attached_program(interface, *index);
  if (!attached) return tl::unexpected(attached.error());
  if (!*attached || (*attached)->name != program_name) {
    return fail(fmt::format("interface {}: the driver did not attach our XDP program; give the port's profile "
                            "xdp_prog={{xdp_prog}}",
                            interface));
  }
  XdpProgram program;
  program.interface_ = interface;
  for (std::uint32_t i = 0; i < (*attached)->map_count; ++i) {
    program.maps_.take(Fd(bpf_map_get_fd_by_id((*attached)->map_ids[i])));
  }
  if (!program.maps_.is_complete() || !program.maps_.has_blocklist()) {
    return fail(fmt::format("interface {}: the attached XDP program has not the maps of this version; rebuild "
                            "xdp_redirect.bpf.o together with sluice-dataplane",
                            interface));
  }
  return program;
}

}  // namespace sluice
