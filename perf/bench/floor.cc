#include "perf/bench/floor.h"

#include <fmt/core.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include "dataplane/base/assert.h"
#include "dataplane/pipeline/packet.h"
#include "perf/bench/measure.h"

namespace sluice::perf {
namespace {

std::size_t entries_for(std::uint32_t flows) {
  return flows + flows / 8 + 64;
}

}  // namespace

Floor::Floor(std::uint32_t flows) : lines_(entries_for(flows)), order_(flows) {
  rte_hash_parameters parameters{};
  const std::string name = fmt::format("floor{}", flows);
  parameters.name = name.c_str();
  parameters.entries = static_cast<std::uint32_t>(entries_for(flows));
  parameters.key_len = sizeof(Key);
  parameters.hash_func = rte_hash_crc;
  parameters.socket_id = dpdk_heap_socket();
  hash_ = rte_hash_create(&parameters);
  LB_ASSERT(hash_ != nullptr);
  for (std::uint32_t flow = 0; flow < flows; ++flow) {
    const Key key = compact(key_of(flow, protocol::tcp, false));
    const std::int32_t at = rte_hash_add_key(hash_, &key);
    LB_ASSERT(at >= 0);
    lines_[static_cast<std::size_t>(at)].l3_delta = static_cast<std::uint16_t>(flow);
  }
}

Floor::~Floor() {
  rte_hash_free(hash_);
}

Floor::Key Floor::compact(const FlowKey& key) {
  return {key.source.as_v4().raw, key.destination.as_v4().raw, key.source_port.raw,
          key.destination_port.raw, key.protocol};
}

double Floor::established() {
  for (std::size_t i = 0; i < batch_count; ++i) {
    write_frame(buffer(i), key_of(order_.next(), protocol::tcp, false), tcp_flag::ack);
  }
  std::uint64_t spent = 0;
  for (std::size_t first = 0; first < batch_count; first += burst_count_max) {
    const std::uint64_t begin = tsc();
    work(first);
    spent += tsc() - begin;
  }
  return static_cast<double>(spent) / batch_count;
}

void Floor::work(std::size_t first) {
  Key keys[burst_count_max];
  const void* pointers[burst_count_max];
  hash_sig_t signatures[burst_count_max];
  std::int32_t positions[burst_count_max];
  for (std::size_t i = 0; i < burst_count_max; ++i) {
    const std::byte* frame = buffer(first + i);
    const auto& ip = *reinterpret_cast<const Ipv4Header*>(frame + 14);
    const auto& tcp = *reinterpret_cast<const TcpHeader*>(frame + 34);
    keys[i] = {ip.source.raw, ip.destination.raw, tcp.source_port.raw, tcp.destination_port.raw,
               ip.protocol};
    signatures[i] = rte_hash_crc(&keys[i], sizeof(Key), 0);
    pointers[i] = &keys[i];
  }
  rte_hash_lookup_with_hash_bulk(hash_, pointers, signatures, burst_count_max, positions);
  for (const std::int32_t at : positions) __builtin_prefetch(&lines_[static_cast<std::size_t>(at)]);
  for (std::size_t i = 0; i < burst_count_max; ++i) {
    LB_ASSERT(positions[i] >= 0);
    Line& line = lines_[static_cast<std::size_t>(positions[i])];
    std::byte* frame = buffer(first + i);
    auto& ip = *reinterpret_cast<Ipv4Header*>(frame + 14);
    auto& tcp = *reinterpret_cast<TcpHeader*>(frame + 34);
    ip.source.raw = line.source;
    ip.destination.raw = line.destination;
    tcp.source_port.raw = line.source_port;
    tcp.destination_port.raw = line.destination_port;
    ip.checksum = ChecksumDelta(line.l3_delta).apply_to(ip.checksum);
    tcp.checksum = ChecksumDelta(line.l4_delta).apply_to(tcp.checksum);
    ++line.packets;
    line.bytes += frame_bytes_least;
    line.stamp = first;
  }
}

}  // namespace sluice::perf
