#include "dataplane/flow/named_client.h"

#include "dataplane/base/crc32c.h"

namespace sluice {
namespace {

std::uint32_t seal_of(NamedClient client, std::uint32_t flow_check, std::uint32_t client_isn) {
  client.check = client_isn;
  return crc32c(std::as_bytes(std::span(&client, 1)), flow_check);
}

}  // namespace

void name_client(NamedClient& client, const FlowRecord& flow, const SpliceRecord& splice, IpAddress address, Be16 port) {
  client = {address, port, 0, 0};
  client.check = seal_of(client, flow.check, splice.client_isn);
}

std::optional<NamedClient> find_named_client(const FlowRecord& flow, std::span<const SpliceRecord> splices,
                                             std::span<const NamedClient> clients) {
  if ((flow.flags & flow_flag::is_spliced) == 0 || flow.splice_slot >= splices.size() || flow.splice_slot >= clients.size()) {
    return std::nullopt;
  }
  const NamedClient& live = clients[flow.splice_slot];
  const std::uint32_t client_isn = __atomic_load_n(&splices[flow.splice_slot].client_isn, __ATOMIC_RELAXED);
  using Word [[gnu::may_alias]] = std::uint32_t;
  NamedClient copy;
  for (std::size_t i = 0; i < sizeof copy / sizeof(Word); ++i) {
    reinterpret_cast<Word*>(&copy)[i] = __atomic_load_n(reinterpret_cast<const Word*>(&live) + i, __ATOMIC_RELAXED);
  }
  if (copy.check != seal_of(copy, flow.check, client_isn)) return std::nullopt;
  return copy;
}

}  // namespace sluice
