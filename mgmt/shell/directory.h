// Whether a path is a directory; false also when it cannot be looked at. <filesystem> is half a second of compile time.
#pragma once

#include <sys/stat.h>

#include <string>

namespace sluice {

inline bool is_directory(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

}  // namespace sluice
