#include "dataplane/net/proxy_protocol.h"

#include <fmt/format.h>

namespace sluice {
namespace {

constexpr unsigned char signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr std::byte version_2_proxy{0x21};
constexpr std::byte tcp_over_v4{0x11}, tcp_over_v6{0x21};

std::size_t write_version_1(const FlowKey& key, std::span<std::byte> out) {
  const auto end = fmt::format_to_n(reinterpret_cast<char*>(out.data()), out.size(), "PROXY TCP{} {} {} {} {}\r\n",
                                    key.source.is_v4() ? 4 : 6, key.source.text(), key.destination.text(),
                                    key.source_port.host(), key.destination_port.host());
  return end.size;
}

std::size_t write_version_2(const FlowKey& key, std::span<std::byte> out) {
  std::size_t count = 0;
  const auto put = [&](const void* bytes, std::size_t length) {
    std::memcpy(out.data() + count, bytes, length);
    count += length;
  };
  const bool is_v4 = key.source.is_v4();
  const Be16 length = be16(is_v4 ? 12 : 36);
  put(signature, sizeof signature);
  put(&version_2_proxy, 1);
  put(is_v4 ? &tcp_over_v4 : &tcp_over_v6, 1);
  put(&length, sizeof length);
  for (const IpAddress& address : {key.source, key.destination}) {
    const auto bytes = address.bytes();
    put(bytes.data() + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
  }
  put(&key.source_port, sizeof key.source_port);
  put(&key.destination_port, sizeof key.destination_port);
  return count;
}

}  // namespace

std::size_t write_proxy_header(ProxyProtocol version, const FlowKey& from_client,
                               std::span<std::byte, proxy_header_bytes_max> out) {
  switch (version) {
    case ProxyProtocol::none: break;
    case ProxyProtocol::version_1: return write_version_1(from_client, out);
    case ProxyProtocol::version_2: return write_version_2(from_client, out);
  }
  return 0;
}

}  // namespace sluice
