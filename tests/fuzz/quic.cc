// libFuzzer: where a QUIC packet wants to go. What is found lies within the packet, and does not depend on bytes behind it.
#include "dataplane/net/quic.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

using sluice::QuicRouting;
using sluice::QuicServerId;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// The first byte is the configuration, the others are the datagram.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  const QuicRouting routing = QuicRouting::unpacked(data[0]);
  const std::size_t count = bytes - 1;
  const std::unique_ptr<std::byte[]> exact(new std::byte[count]);
  for (std::size_t i = 0; i < count; ++i) exact[i] = static_cast<std::byte>(data[i + 1]);
  const auto destination = sluice::read_quic_destination({exact.get(), count});
  if (!destination) return 0;
  const std::byte* const begin = exact.get();
  require(destination->cid.data() >= begin && destination->cid.data() + destination->cid.size() <= begin + count);
  const QuicServerId id = sluice::read_quic_server_id(destination->cid, routing);
  require((id.status == QuicServerId::Status::found) == !id.bytes.empty() || routing.server_id_bytes == 0);
  if (id.bytes.empty()) return 0;
  require(id.bytes.size() == routing.server_id_bytes && id.bytes.data() == destination->cid.data() + 1);
  // The same packet without what follows the server ID and the shortest nonce says the same.
  const std::size_t needed = static_cast<std::size_t>(id.bytes.data() - begin) + id.bytes.size() + sluice::quic_nonce_bytes_min;
  require(needed <= count);
  if (destination->is_long) return 0;
  const auto shorter = sluice::read_quic_destination({begin, needed});
  require(shorter.has_value());
  const QuicServerId again = sluice::read_quic_server_id(shorter->cid, routing);
  require(again.status == id.status && std::equal(again.bytes.begin(), again.bytes.end(), id.bytes.begin(), id.bytes.end()));
  return 0;
}
