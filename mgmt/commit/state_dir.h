// StateDir: mgmt's folder on disk. One mgmt owns it at a time (flock).
//
// A write goes to a temporary file, is synced, and is renamed over the old one: a reader finds the
// old text or the new one, whole, also after a crash in between.
//
// Errors: every method says which file and why; the old content is then untouched.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"

namespace sluice {

enum class Durability {
  synced,  // on disk when write() returns: what an operator was told is committed
  lazy,    // may be lost with the machine: what can be found out again
};

class StateDir {
 public:
  // Creates the folder (and config/ in it). Refuses when another process owns it.
  static Result<StateDir> open(const std::string& path);

  Result<void> write(const std::string& name, std::string_view text, Durability durability);
  // Nothing when there is no such file.
  Result<std::optional<std::string>> read(const std::string& name) const;
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

 private:
  StateDir(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  Fd lock_;
};

}  // namespace sluice
