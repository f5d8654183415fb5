#include "perf/bench/lookup.h"

#include <fmt/core.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include "dataplane/base/assert.h"
#include "dataplane/pipeline/packet.h"
#include "perf/common/colliding.h"
#include "perf/common/memory.h"
#include "perf/bench/packets.h"
#include "perf/bench/rig.h"

namespace sluice::perf {
namespace {

struct Key {
  std::uint32_t source, destination;
  std::uint16_t source_port, destination_port;
  std::uint32_t protocol_number;
};

Key compact(const FlowKey& key) {
  return {key.source.as_v4().raw, key.destination.as_v4().raw, key.source_port.raw,
          key.destination_port.raw, key.protocol};
}

// The other direction without NAT: it makes no difference to a table.
FlowKey key_at(std::uint32_t flow, bool is_reply) {
  const FlowKey key = key_of(flow, protocol::tcp, false);
  return is_reply ? key.reversed() : key;
}

class RteHashTable {
 public:
  explicit RteHashTable(std::uint32_t flows) : records_(flows + 64) {
    rte_hash_parameters parameters{};
    const std::string name = fmt::format("lookup{}", flows);
    parameters.name = name.c_str();
    parameters.entries = 2 * flows + 64;
    parameters.key_len = sizeof(Key);
    parameters.hash_func = rte_hash_crc;
    parameters.socket_id = dpdk_heap_socket();
    const std::size_t before = dpdk_heap_bytes_used();
    hash_ = rte_hash_create(&parameters);
    LB_ASSERT(hash_ != nullptr);
    bytes_ = dpdk_heap_bytes_used() - before + records_.rows().size_bytes();
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
      for (const bool is_reply : {false, true}) {
        const Key key = compact(key_at(flow, is_reply));
        const int rc = rte_hash_add_key_data(hash_, &key, &records_[flow]);
        LB_ASSERT(rc == 0);
      }
    }
  }
  ~RteHashTable() { rte_hash_free(hash_); }
  RteHashTable(const RteHashTable&) = delete;
  RteHashTable& operator=(const RteHashTable&) = delete;

  double bytes() const { return static_cast<double>(bytes_); }

  void look_up(std::span<const FlowKey, burst_count_max> flow_keys) {
    Key keys[burst_count_max];
    const void* pointers[burst_count_max];
    hash_sig_t signatures[burst_count_max];
    void* found[burst_count_max];
    for (std::size_t i = 0; i < burst_count_max; ++i) {
      keys[i] = compact(flow_keys[i]);
      signatures[i] = rte_hash_crc(&keys[i], sizeof(Key), 0);
      pointers[i] = &keys[i];
    }
    std::uint64_t hits = 0;
    rte_hash_lookup_with_hash_bulk_data(hash_, pointers, signatures, burst_count_max, &hits, found);
    LB_ASSERT(hits == 0xffffffff);
    for (void* record : found) __builtin_prefetch(record, 1);
    for (void* record : found) ++static_cast<FlowRecord*>(record)->last_seen;
  }

 private:
  MappedRows<FlowRecord> records_;
  rte_hash* hash_ = nullptr;
  std::size_t bytes_ = 0;
};

class OwnTable {
 public:
  // `key_of_client(flow)`: the five-tuple of a flow.
  template <class KeyOfClient>
  OwnTable(std::uint32_t flows, KeyOfClient key_of_client)
      : records_(flows + 64),
        before_(mapped_bytes()),
        flows_(records_.rows(), {0x1234567887654321, 0x8765432112345678}),
        bytes_(mapped_bytes() - before_ + records_.rows().size_bytes()) {
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
      FlowOpening opening;
      opening.from_client = opening.to_endpoint = key_of_client(flow);
      const FlowRecord* record = flows_.open(opening, {1});
      LB_ASSERT(record != nullptr);
    }
  }
  double bytes() const { return static_cast<double>(bytes_); }

  void look_up(std::span<const FlowKey, burst_count_max> keys) {
    FlowHash hashes[burst_count_max];
    FlowMatch matches[burst_count_max];
    for (std::size_t i = 0; i < burst_count_max; ++i) {
      hashes[i] = flows_.hash(keys[i]);
      flows_.prefetch_bucket(hashes[i]);
    }
    for (std::size_t i = 0; i < burst_count_max; ++i) flows_.guess(hashes[i], matches[i]);
    for (std::size_t i = 0; i < burst_count_max; ++i) {
      matches[i] = flows_.confirm(matches[i], keys[i], hashes[i]);
      LB_ASSERT(matches[i].record != nullptr);
      ++matches[i].record->last_seen;
    }
  }

 private:
  MappedRows<FlowRecord> records_;
  std::size_t before_;
  Conntrack flows_;
  std::size_t bytes_;
};

template <class Table, class KeyOfClient>
double look_up_many(Table& table, FlowOrder& order, KeyOfClient key_of_client) {
  constexpr int batches = 20;
  std::vector<double> of_batch;
  std::vector<FlowKey> keys(batch_count);
  for (int batch = 0; batch < batches; ++batch) {
    for (FlowKey& key : keys) {
      const std::uint32_t flow = order.next();
      key = key_of_client(flow);
      if (((&key - keys.data()) & 1) != 0) key = key.reversed();
    }
    std::uint64_t spent = 0;
    for (std::size_t i = 0; i < batch_count; i += burst_count_max) {
      const std::span<const FlowKey, burst_count_max> burst(&keys[i], burst_count_max);
      const std::uint64_t begin = tsc();
      table.look_up(burst);
      spent += tsc() - begin;
    }
    if (batch > 0) of_batch.push_back(static_cast<double>(spent) / batch_count);
  }
  return median_of(of_batch);
}

}  // namespace

LookupFigures compare_lookups(std::uint32_t flows, int repeats) {
  RteHashTable theirs(flows);
  const auto key_of_client = [](std::uint32_t flow) { return key_at(flow, false); };
  OwnTable ours(flows, key_of_client);
  FlowOrder order(flows);
  const auto samples = take_turns(repeats, {[&] { return look_up_many(theirs, order, key_of_client); },
                                            [&] { return look_up_many(ours, order, key_of_client); }});
  return {figure_of(samples[0]), figure_of(samples[1]), ratio_of(samples[1], samples[0]),
          theirs.bytes() / flows, ours.bytes() / flows};
}

FloodFigures compare_floods(std::uint32_t flows, int repeats) {
  std::vector<std::uint64_t> choices[3] = {{}, colliding_choices(crc_of_choice, flows), colliding_choices(toeplitz_of_choice, flows)};
  FlowOrder order(flows);
  for (std::uint64_t i = 0; i < flows; ++i) choices[0].push_back(fold(i + 1, 0xd6e8feb86659fd93ull) & 0xffff'ffff'ffff);
  std::vector<std::unique_ptr<OwnTable>> tables;
  std::vector<Sample> contestants;
  for (const auto& of_these : choices) {
    const auto key_of_client = [&of_these](std::uint32_t flow) { return key_of_choice(of_these[flow]); };
    tables.push_back(std::make_unique<OwnTable>(flows, key_of_client));
    contestants.push_back([table = tables.back().get(), key_of_client, &order] { return look_up_many(*table, order, key_of_client); });
  }
  const auto samples = take_turns(repeats, contestants);
  return {figure_of(samples[0]), ratio_of(samples[1], samples[0]), ratio_of(samples[2], samples[0])};
}

}  // namespace sluice::perf
