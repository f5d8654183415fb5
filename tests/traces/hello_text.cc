#include "tests/traces/hello_text.h"

#include <algorithm>

namespace sluice::trace {
namespace {

void append_all(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
void append_text(Bytes& out, const std::string& text) {
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
}
// A vector with its length before it.
void append_sized(Bytes& out, std::size_t length_bytes, const Bytes& body) {
  append(out, length_bytes, body.size());
  append_all(out, body);
}

}  // namespace

Bytes server_name_body(const std::vector<std::string>& names) {
  Bytes list;
  for (const std::string& name : names) {
    append(list, 1, 0);
    append(list, 2, name.size());
    append_text(list, name);
  }
  Bytes body;
  append_sized(body, 2, list);
  return body;
}

Bytes build_hello(const HelloText& text) {
  Bytes extensions;
  const auto extend = [&](std::uint16_t type, const Bytes& body) {
    append(extensions, 2, type);
    append_sized(extensions, 2, body);
  };
  if (text.has_grease) extend(0x3a3a, {});
  if (!text.name.empty()) extend(0, server_name_body({text.name}));
  extend(0x000a, {std::byte{0}, std::byte{2}, std::byte{0}, std::byte{0x1d}});  // supported_groups: x25519
  if (!text.alpn.empty()) {
    Bytes list, body;
    for (const std::string& protocol : text.alpn) {
      append(list, 1, protocol.size());
      append_text(list, protocol);
    }
    append_sized(body, 2, list);
    extend(16, body);
  }
  Bytes share;
  append(share, 2, 0x001d);
  append_sized(share, 2, Bytes(text.key_share_bytes, std::byte{0x5a}));
  Bytes shares;
  append_sized(shares, 2, share);
  extend(0x0033, shares);
  if (text.ech_bytes > 0) extend(0xfe0d, Bytes(text.ech_bytes, std::byte{0xec}));
  for (const auto& [type, body] : text.more_extensions) extend(type, body);
  if (text.padding_bytes > 0) extend(21, Bytes(text.padding_bytes, std::byte{0}));

  Bytes hello;
  append(hello, 2, 0x0303);
  append_all(hello, Bytes(32, std::byte{0x11}));
  append_sized(hello, 1, Bytes(32, std::byte{0x22}));
  Bytes suites;
  if (text.has_grease) append(suites, 2, 0x1a1a);
  append(suites, 6, 0x130113021303);
  append_sized(hello, 2, suites);
  append(hello, 2, 0x0100);
  append_sized(hello, 2, extensions);

  Bytes message;
  append(message, 1, 1);
  append_sized(message, 3, hello);
  Bytes wire;
  for (std::size_t at = 0; at < message.size(); at += text.record_bytes_max) {
    const std::size_t here = std::min(text.record_bytes_max, message.size() - at);
    append(wire, 3, 0x160301);
    append(wire, 2, here);
    wire.insert(wire.end(), message.begin() + static_cast<long>(at), message.begin() + static_cast<long>(at + here));
  }
  return wire;
}

}  // namespace sluice::trace
