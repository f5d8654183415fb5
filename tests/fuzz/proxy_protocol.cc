// libFuzzer: the reader of PROXY headers. Besides memory errors it looks for an answer that a longer input would take back, and
// for a client that the writer would name otherwise.
#include "dataplane/net/proxy_protocol.h"

#include <cstdint>
#include <cstdlib>
#include <memory>

using sluice::ProxyHeader;
using sluice::ProxyHeaderStatus;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

ProxyHeader read(const std::uint8_t* data, std::size_t bytes) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
  for (std::size_t i = 0; i < bytes; ++i) exact[i] = static_cast<std::byte>(data[i]);
  return sluice::read_proxy_header({exact.get(), bytes});
}

void write_and_read_again(const sluice::FlowKey& from_client) {
  std::array<std::byte, sluice::proxy_header_bytes_max> written;
  for (const auto version : {sluice::ProxyProtocol::version_1, sluice::ProxyProtocol::version_2}) {
    const std::size_t bytes = sluice::write_proxy_header(version, from_client, written);
    const ProxyHeader header = sluice::read_proxy_header(std::span(written).first(bytes));
    require(header.status == ProxyHeaderStatus::complete && header.bytes == bytes && header.from_client == from_client);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const ProxyHeader whole = read(data, bytes);
  require(whole.status != ProxyHeaderStatus::complete || (whole.bytes > 0 && whole.bytes <= bytes));
  const ProxyHeader part = read(data, bytes / 2);
  if (part.status != ProxyHeaderStatus::need_more) {
    require(part.status == whole.status && part.bytes == whole.bytes && part.from_client == whole.from_client);
  }
  if (whole.from_client) write_and_read_again(*whole.from_client);
  return 0;
}
