#include "mgmt/stats/dataplane_counters.h"

#include <nlohmann/json.hpp>

#include "dataplane/base/control_channel.h"

namespace sluice {
namespace {

using nlohmann::json;

std::uint64_t number(const json& row, const char* name) {
  const auto found = row.find(name);
  return found != row.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

// The rows of a reply like {"ok":true,"vips":[...]}.
Result<json> ask_rows(const std::string& socket_path, const char* verb, Milliseconds timeout) {
  const auto text = call(socket_path, {verb, {}, {}, Fd()}, timeout);
  if (!text) return tl::unexpected(text.error());
  json body = json::parse(*text, nullptr, false);
  if (!body.is_object() || !body.contains(verb) || !body[verb].is_array()) {
    return fail(std::string("the dataplane gave no ") + verb);
  }
  return body[verb];
}

}  // namespace

Result<DataplaneCounters> ask_counters(const std::string& socket_path, Milliseconds timeout) {
  DataplaneCounters counters;
  const auto vips = ask_rows(socket_path, "vips", timeout);
  if (!vips) return tl::unexpected(vips.error());
  for (const json& row : *vips) {
    counters.vips[static_cast<std::uint32_t>(number(row, "id"))] = {
        number(row, "flows_active"), number(row, "flows_opened"), number(row, "rx_bytes"),
        number(row, "tx_bytes"), number(row, "dropped"), number(row, "half_open"), row.value("syn_cookies", "")};
  }
  const auto endpoints = ask_rows(socket_path, "endpoints", timeout);
  if (!endpoints) return tl::unexpected(endpoints.error());
  for (const json& row : *endpoints) {
    counters.endpoints[static_cast<std::uint32_t>(number(row, "id"))] = {
        number(row, "flows_active"), number(row, "flows_opened"), number(row, "to_bytes"),
        number(row, "from_bytes")};
  }
  return counters;
}

}  // namespace sluice
