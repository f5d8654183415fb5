#include "mgmt/text/profile_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "mgmt/model/field_rules.h"
#include "mgmt/model/fields.h"
#include "mgmt/text/config_reader.h"

namespace sluice {
namespace {

// What mgmt fills in, and {xdp_prog}, which only the dataplane knows.
constexpr std::array<std::string_view, 7> placeholders = {"index",       "name",       "device",  "queues",
                                                          "frame_bytes", "page_bytes", "xdp_prog"};

// The placeholder in {braces} that nobody fills in; empty when all are known.
std::string unknown_placeholder(const std::string& option) {
  for (std::size_t at = option.find('{'); at != std::string::npos; at = option.find('{', at + 1)) {
    const std::size_t end = option.find('}', at);
    if (end == std::string::npos) return option.substr(at);
    const std::string name = option.substr(at + 1, end - at - 1);
    if (std::find(placeholders.begin(), placeholders.end(), name) == placeholders.end())
      return "{" + name + "}";
  }
  return {};
}

}  // namespace

ProfileFolder read_profiles(const std::string& folder) {
  ProfileFolder result;
  const auto error = [&](const std::string& file, TextPosition at, std::string path,
                         std::string message, std::string expected) {
    result.errors.push_back(
        {file, at.line, at.column, std::move(path), std::move(message), std::move(expected), {}});
  };
  std::vector<std::filesystem::path> paths;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  if (paths.empty()) {
    error(folder, {}, {}, problem ? problem.message() : "no NIC profile is there",
          "a folder with *.yaml (--profiles)");
    return result;
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    std::stringstream text;
    text << stream.rdbuf();
    if (!stream) {
      error(path.string(), {}, {}, "cannot be read", {});
      continue;
    }
    ObjectSource source;
    const auto message = read_message({path.string(), text.str()},
                                      api::NicProfile::default_instance(), result.errors, &source);
    if (message == nullptr) continue;
    api::NicProfile profile;
    profile.CopyFrom(*message);
    apply_defaults(profile);
    const api::NicProfileSpec& spec = profile.spec();
    if (profile.metadata().name() != path.stem().string()) {
      error(path.string(), source.find("metadata.name"), "metadata.name",
            fmt::format("'{}' is not the name of the file", profile.metadata().name()),
            path.stem().string());
    }
    for (const BrokenRule& rule : broken_rules(profile)) {
      error(path.string(), source.find(rule.path), rule.path, rule.message, rule.expected);
    }
    constexpr std::size_t key_digits_min = 80;  // a hash of IPv6 uses 40 bytes of its key
    if (!spec.rss().key().empty() && spec.rss().key().size() < key_digits_min) {
      error(path.string(), source.find("spec.rss.key"), "spec.rss.key",
            fmt::format("{} bytes are too short for a key", spec.rss().key().size() / 2), "40 to 64 bytes in hexadecimal");
    }
    if (!std::has_single_bit(std::max(spec.rss().table_size(), 1u))) {
      error(path.string(), source.find("spec.rss.table_size"), "spec.rss.table_size",
            fmt::format("{} is no power of two", spec.rss().table_size()), "a power of two, such as 128");
    }
    if (const std::string unknown = unknown_placeholder(spec.eal_option()); !unknown.empty()) {
      error(path.string(), source.find("spec.eal_option"), "spec.eal_option",
            fmt::format("unknown placeholder {}", unknown),
            "{index}, {name}, {device}, {queues}, {frame_bytes}, {page_bytes} or {xdp_prog}");
    }
    result.profiles[path.stem().string()] = std::move(profile);
  }
  return result;
}

}  // namespace sluice
