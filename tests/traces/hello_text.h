// ClientHellos for tests, made from a few words. Nothing here uses the product's parser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/traces/packet_text.h"

namespace sluice::trace {

struct HelloText {
  std::string name = {};               // server name; empty: no such extension
  std::vector<std::string> alpn = {};
  bool has_grease = false;             // RFC 8701, in suites and extensions
  std::size_t key_share_bytes = 32;    // 1,216 for X25519MLKEM768
  std::size_t ech_bytes = 0;           // encrypted hello, opaque
  std::size_t padding_bytes = 0;       // RFC 7685
  std::size_t record_bytes_max = 16'384;  // the hello is cut into records of this many bytes
  std::vector<std::pair<std::uint16_t, Bytes>> more_extensions = {};  // type and body, at the end
};

Bytes build_hello(const HelloText& text);
// The body of a server_name extension (RFC 6066 3) with these names.
Bytes server_name_body(const std::vector<std::string>& names);

}  // namespace sluice::trace
