#include "dataplane/io/kernel_guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <net/if.h>
#include <string.h>

#include <memory>

namespace sluice {
namespace {

// One filter at a place of our own, so that a new one replaces the old one.
constexpr std::uint32_t filter_handle = 1;
constexpr std::uint32_t filter_priority = 0x534c;

int print_nothing(libbpf_print_level, const char*, va_list) { return 0; }

}  // namespace

Result<KernelGuard> KernelGuard::attach(const std::string& interface, const std::string& object_path,
                                        const XdpContent& content) {
  const auto failed = [&](const char* step, int error) {
    return fail(fmt::format("interface {}: guard before the kernel: {}: {}", interface, step, strerror(error)));
  };
  libbpf_set_print(print_nothing);  // what fails is said here, in one line
  const std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object(
      bpf_object__open_file(object_path.c_str(), nullptr), bpf_object__close);
  if (!object) return failed(object_path.c_str(), errno);
  if (const int rc = bpf_object__load(object.get()); rc != 0) return failed("the kernel does not take the program", -rc);

  KernelGuard guard;
  guard.interface_ = interface;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    guard.maps_.take(Fd(fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0)));  // the object closes its own
  }
  const bpf_program* program = bpf_object__find_program_by_name(object.get(), "sluice_guard");
  if (program == nullptr || !guard.maps_.is_complete()) return failed(object_path.c_str(), EINVAL);
  if (auto filled = guard.update(content); !filled) return tl::unexpected(filled.error());

  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(if_nametoindex(interface.c_str())),
              .attach_point = BPF_TC_INGRESS);
  if (const int rc = bpf_tc_hook_create(&hook); rc != 0 && rc != -EEXIST) return failed("no clsact", -rc);
  LIBBPF_OPTS(bpf_tc_opts, place, .prog_fd = bpf_program__fd(program), .flags = BPF_TC_F_REPLACE,
              .handle = filter_handle, .priority = filter_priority);
  if (const int rc = bpf_tc_attach(&hook, &place); rc != 0) return failed("cannot attach", -rc);
  return guard;
}

}  // namespace sluice
