#include "mgmt/commit/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>

namespace sluice {
namespace {

tl::unexpected<Error> fail_errno(const std::string& what) {
  return fail(fmt::format("{}: {}", what, strerror(errno)));
}

Result<void> sync_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const Fd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || fsync(fd.get()) != 0) return fail_errno(folder);
  return {};
}

Result<void> write_all(const Fd& fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno(path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<StateDir> StateDir::open(const std::string& path) {
  std::error_code problem;
  std::filesystem::create_directories(path + "/config", problem);
  if (problem) return fail(fmt::format("{}: cannot be created: {}", path, problem.message()));
  const std::string lock_path = path + "/mgmt.lock";
  Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail_errno(lock_path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(fmt::format(
        "{}: another sluice-mgmt owns this folder; stop it or choose another --state-dir", path));
  }
  return StateDir(path, std::move(lock));
}

Result<void> StateDir::write(const std::string& name, std::string_view text,
                             Durability durability) {
  const std::string path = path_of(name);
  const std::string temporary = path + ".new";
  {
    const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(temporary);
    auto written = write_all(fd, text, temporary);
    if (written && durability == Durability::synced && fsync(fd.get()) != 0)
      written = fail_errno(temporary);
    if (!written) {
      unlink(temporary.c_str());
      return written;
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const auto error = fail_errno(path);
    unlink(temporary.c_str());
    return error;
  }
  return durability == Durability::synced ? sync_folder_of(path) : Result<void>();
}

Result<std::optional<std::string>> StateDir::read(const std::string& name) const {
  const std::string path = path_of(name);
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return std::optional<std::string>();
    return fail_errno(path);
  }
  std::string text;
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(path);
    if (got == 0) return std::optional<std::string>(std::move(text));
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace sluice
