#include "dataplane/io/ours_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/core.h>
#include <string.h>

#include <numeric>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

IpAddress address_of(const IpAddress& key) { return key; }
IpAddress address_of(const XdpSourceKey& key) { return key.address; }
IpAddress address_of(const XdpPrefixKey& key) { return IpAddress::v6(key.bytes.data()); }

template <class Key>
Result<void> change_map(const Fd& map, const XdpChange<Key>& change, const std::string& interface) {
  const std::uint8_t present = 1;
  for (const Key& key : change.add) {
    if (bpf_map_update_elem(map.get(), &key, &present, BPF_ANY) != 0) {
      return fail(fmt::format("interface {}: the program before the kernel cannot take {}: {}", interface,
                              address_of(key).text(), strerror(errno)));
    }
  }
  for (const Key& key : change.remove) {
    if (bpf_map_delete_elem(map.get(), &key) != 0 && errno != ENOENT) {
      return fail(fmt::format("interface {}: the program before the kernel does not let go of {}: {}", interface,
                              address_of(key).text(), strerror(errno)));
    }
  }
  return {};
}

}  // namespace

void OursMaps::take(Fd map) {
  bpf_map_info info{};
  std::uint32_t info_bytes = sizeof info;
  if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &info_bytes) != 0) return;
  const std::string_view name(info.name, strnlen(info.name, sizeof info.name));
  if (name == "sluice_addrs" && info.key_size == sizeof(IpAddress)) addresses_ = std::move(map);
  if (name == "sluice_nets" && info.key_size == sizeof(XdpPrefixKey)) networks_ = std::move(map);
  if (name == "sluice_sources" && info.key_size == xdp_source_key_bytes) sources_ = std::move(map);
  if (name == "sluice_blocked" && info.key_size == sizeof(XdpPrefixKey)) blocked_ = std::move(map);
  if (name == "sluice_drops" && info.value_size == sizeof(std::uint64_t)) drops_ = std::move(map);
  if (name == "sluice_host" && info.key_size == sizeof(IpAddress)) host_ = std::move(map);
}

Result<void> OursMaps::update(const XdpContent& content, const std::string& interface) {
  if (auto done = change_map(host_, xdp_change(content_.host, content.host), interface); !done) return done;
  content_.host = content.host;
  if (auto done = change_map(addresses_, xdp_change(content_.addresses, content.addresses), interface); !done) return done;
  content_.addresses = content.addresses;
  if (auto done = change_map(networks_, xdp_change(content_.networks, content.networks), interface); !done) return done;
  content_.networks = content.networks;
  if (auto done = change_map(sources_, xdp_change(content_.sources, content.sources), interface); !done) return done;
  content_.sources = content.sources;
  if (!blocked_) return {};
  if (auto done = change_map(blocked_, xdp_change(content_.blocked, content.blocked), interface); !done) return done;
  content_.blocked = content.blocked;
  return {};
}

std::uint64_t OursMaps::blocked_packets() const {
  const int cpus = libbpf_num_possible_cpus();
  if (!drops_ || cpus <= 0) return 0;
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(cpus));
  const std::uint32_t zero = 0;
  if (bpf_map_lookup_elem(drops_.get(), &zero, counts.data()) != 0) return 0;
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

}  // namespace sluice
