#include "mgmt/publish/sealed_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace sluice {

Result<Fd> sealed_memfd(std::span<const std::byte> bytes) {
  Fd fd(memfd_create("sluice-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail(fmt::format("memfd_create: {}", strerror(errno)));
  while (!bytes.empty()) {
    const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail(fmt::format("writing a snapshot to memory: {}", strerror(errno)));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
    return fail(fmt::format("sealing a snapshot: {}", strerror(errno)));
  }
  return fd;
}

}  // namespace sluice
