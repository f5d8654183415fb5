// Reading the replies of the processes. Includes the whole JSON library, which costs seconds of
// compile time: for the files that read replies, not for headers.
// Pure functions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

using Json = nlohmann::ordered_json;  // replies are shown in the order they were written

// A field that is absent, null or of another type is "not known": a shell does not
// fall over because a process is newer or older than itself.
const Json* find(const Json& object, std::string_view name);  // null when absent or null
std::string text_of(const Json& object, std::string_view name, std::string_view fallback = {});
std::optional<std::uint64_t> number_of(const Json& object, std::string_view name);
bool flag_of(const Json& object, std::string_view name);
const Json& list_of(const Json& object, std::string_view name);  // an array, maybe empty
std::vector<std::string> texts_of(const Json& object, std::string_view name);

// Indented, or on one line; bytes that are not UTF-8 are replaced.
std::string dump(const Json& json, bool on_one_line = false);

}  // namespace sluice
