#include "mgmt/server/persistence.h"

#include <fmt/core.h>

#include <charconv>
#include <fstream>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/base/crc32c.h"

namespace sluice {
namespace {

std::uint32_t crc_of(std::string_view text) {
  return crc32c(std::as_bytes(std::span(text.data(), text.size())));
}

std::string sealed(std::string text) {
  return text + fmt::format("crc {:08x}\n", crc_of(text));
}

using Words = std::vector<std::string>;

// The first `count - 1` words of a line and its rest.
Words split_words(std::string_view line, std::size_t count) {
  Words words;
  while (words.size() + 1 < count) {
    const std::size_t space = std::min(line.find(' '), line.size());
    words.emplace_back(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  words.emplace_back(line);
  return words;
}

// Calls `take` for each line before the checksum; it returns false for a line that makes no sense.
Result<void> for_each_line(const std::string& text, const std::string& heading,
                           const std::function<bool(std::string_view)>& take) {
  const std::size_t last = text.rfind("crc ");
  if (last == std::string::npos ||
      text.substr(last) != fmt::format("crc {:08x}\n", crc_of(text.substr(0, last)))) {
    return fail("damaged: the checksum does not fit");
  }
  std::string_view rest(text.data(), last);
  bool is_first = true;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (is_first ? line != heading : !take(line))
      return fail(fmt::format("unexpected line '{}'", line));
    is_first = false;
  }
  return is_first ? fail("empty") : Result<void>();
}

template <class Number>
bool parse_number(const std::string& text, Number& number, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size();
}

ObjectKey endpoint_key(const std::string& space, const std::string& name) {
  return {"endpoint", space, name};
}

const char* verdict_text(HealthVerdict verdict) {
  return verdict == HealthVerdict::up ? "up" : verdict == HealthVerdict::down ? "down" : "unknown";
}

}  // namespace

std::string encode_ids(const IdMap& ids) {
  std::string text = "sluice ids 1\n";
  const auto add = [&](const char* kind, const IdSpace& space) {
    for (const auto& [key, entry] : space.entries())
      text += fmt::format("{} {} {} {}\n", kind, entry.id, entry.gone, key);
  };
  add("vip", ids.vips);
  add("cluster", ids.clusters);
  add("endpoint", ids.endpoints);
  return sealed(std::move(text));
}

Result<IdMap> decode_ids(const std::string& text) {
  IdMap ids;
  const auto read = for_each_line(text, "sluice ids 1", [&](std::string_view line) {
    const Words words = split_words(line, 4);
    IdSpace::Entry entry;
    if (!parse_number(words[1], entry.id) || !parse_number(words[2], entry.gone)) return false;
    IdSpace* space = words[0] == "vip"        ? &ids.vips
                     : words[0] == "cluster"  ? &ids.clusters
                     : words[0] == "endpoint" ? &ids.endpoints
                                              : nullptr;
    return space != nullptr && space->restore(words[3], entry);
  });
  if (!read) return tl::unexpected(read.error());
  return ids;
}

std::string encode_drains(const Drains& drains) {
  std::string text = "sluice drains 1\n";
  for (const auto& [key, since_unix_ms] : drains)
    text += fmt::format("{} {} {}\n", since_unix_ms, key.space, key.name);
  return sealed(std::move(text));
}

Result<Drains> decode_drains(const std::string& text) {
  Drains drains;
  const auto read = for_each_line(text, "sluice drains 1", [&](std::string_view line) {
    const Words words = split_words(line, 3);
    std::uint64_t since_unix_ms = 0;
    return parse_number(words[0], since_unix_ms) &&
           drains.emplace(endpoint_key(words[1], words[2]), since_unix_ms).second;
  });
  if (!read) return tl::unexpected(read.error());
  return drains;
}

std::string encode_health(const HealthFile& file) {
  std::string text = "sluice health 1\n";
  text += fmt::format("boot {}\n", file.boot_id);
  text += fmt::format("published {} {:08x}\n", file.generation, file.content_crc);
  for (const auto& [target, record] : file.records) {
    std::string reason = record.reason;
    for (char& c : reason) {
      if (c == '\n' || c == '\r') c = ' ';
    }
    text += fmt::format("verdict {} {} {} {} {} {} {}\n", verdict_text(record.verdict),
                        record.since_unix_ms, target.endpoint.space, target.endpoint.name,
                        target.healthcheck.space, target.healthcheck.name, reason);
  }
  return sealed(std::move(text));
}

Result<HealthFile> decode_health(const std::string& text) {
  HealthFile file;
  const auto read = for_each_line(text, "sluice health 1", [&](std::string_view line) {
    if (line.starts_with("boot ")) {
      file.boot_id = line.substr(5);
      return true;
    }
    if (line.starts_with("published ")) {
      const Words words = split_words(line, 3);
      return parse_number(words[1], file.generation) &&
             parse_number(words[2], file.content_crc, 16);
    }
    const Words words = split_words(line, 8);
    HealthRecord record;
    record.verdict = words[1] == "up"     ? HealthVerdict::up
                     : words[1] == "down" ? HealthVerdict::down
                                          : HealthVerdict::unknown;
    record.reason = words[7];
    if (words[0] != "verdict" || !parse_number(words[2], record.since_unix_ms)) return false;
    const HealthTarget target{endpoint_key(words[3], words[4]),
                              {"healthcheck", words[5], words[6]}};
    return file.records.emplace(target, record).second;
  });
  if (!read) return tl::unexpected(read.error());
  return file;
}

std::string current_boot_id() {
  std::ifstream stream("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(stream, id);
  return id;
}

}  // namespace sluice
