// libFuzzer: the ClientHello parser. Besides memory errors it looks for an answer that a longer input would take back.
#include "dataplane/net/client_hello.h"

#include <cstdint>
#include <cstdlib>
#include <memory>

using sluice::ClientHello;
using sluice::HelloStatus;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

ClientHello parse(const std::uint8_t* data, std::size_t bytes) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes]);
  for (std::size_t i = 0; i < bytes; ++i) exact[i] = static_cast<std::byte>(data[i]);
  ClientHello hello;
  sluice::parse_client_hello({exact.get(), bytes}, hello);
  return hello;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  const ClientHello whole = parse(data, bytes);
  require(whole.status != HelloStatus::complete || whole.wire_bytes <= bytes);
  const ClientHello part = parse(data, bytes / 2);
  if (part.status != HelloStatus::need_more) {
    require(part.status == whole.status && part.fault == whole.fault && part.server_name() == whole.server_name());
  }
  return 0;
}
