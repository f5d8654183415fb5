#include "perf/pktgen/flows.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "perf/common/frame.h"

namespace sluice::perf {

Result<Tuples> Tuples::create(std::vector<AddressPort> vips, const Clients& clients,
                              std::uint8_t protocol_number, std::uint32_t flows) {
  Tuples tuples;
  tuples.clients_ = clients;
  tuples.flows_ = Divisor(flows);
  tuples.protocol_number_ = protocol_number;
  tuples.addresses_ = Divisor(std::min(clients.v4.count, clients.v6.count));
  tuples.vips_ = std::move(vips);
  const std::uint64_t all = std::min<std::uint64_t>(
      std::uint64_t{std::uint32_t{tuples.addresses_}} * clients.ports.count(), 1u << 31);
  if (all < flows) {
    return fail(fmt::format("{} flows need more than {} client addresses with {} ports each", flows,
                            std::uint32_t{tuples.addresses_}, clients.ports.count()));
  }
  tuples.count_ = static_cast<std::uint32_t>(all / flows * flows);
  return tuples;
}

FlowKey Tuples::key_of(std::uint32_t tuple) const {
  const AddressPort& vip = vips_.size() == 1 ? vips_[0] : vips_[tuple % vips_.size()];
  FlowKey key;
  key.source = (vip.address.is_v4() ? clients_.v4 : clients_.v6).at(addresses_.remainder(tuple));
  key.destination = vip.address;
  key.source_port =
      be16(static_cast<std::uint16_t>(clients_.ports.first + addresses_.quotient(tuple)));
  key.destination_port = be16(vip.port);
  key.protocol = protocol_number_;
  return key;
}

std::optional<std::uint32_t> Tuples::tuple_of_reply(const FlowKey& key) const {
  const AddressRange& range = key.destination.is_v4() ? clients_.v4 : clients_.v6;
  const std::uint32_t index = range.index_of(key.destination);
  const std::uint32_t port = key.destination_port.host() - std::uint32_t{clients_.ports.first};
  if (index >= addresses_ || port >= clients_.ports.count()) return std::nullopt;
  const std::uint64_t tuple = std::uint64_t{port} * std::uint32_t{addresses_} + index;
  if (tuple >= count_) return std::nullopt;
  const AddressPort& vip = vips_.size() == 1 ? vips_[0] : vips_[tuple % vips_.size()];
  if (key.source != vip.address || key.source_port != be16(vip.port) ||
      key.protocol != protocol_number_) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(tuple);
}

Lottery::Lottery(const std::vector<double>& weights) : columns_(weights.size()) {
  const double mean =
      std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
  std::vector<double> share(weights.size());
  std::vector<std::uint32_t> poor, rich;
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    share[i] = weights[i] / mean;
    (share[i] < 1 ? poor : rich).push_back(i);
  }
  const auto set = [&](std::uint32_t at, std::uint32_t other) {
    columns_[at] = {static_cast<std::uint32_t>(std::min(share[at] * 0x1p32, 0x1p32 - 1)), other};
  };
  while (!poor.empty() && !rich.empty()) {
    const std::uint32_t low = poor.back(), high = rich.back();
    poor.pop_back();
    set(low, high);
    share[high] -= 1 - share[low];
    if (share[high] < 1) {
      rich.pop_back();
      poor.push_back(high);
    }
  }
  // What is left is one up to rounding.
  for (const std::uint32_t at : poor) columns_[at] = {UINT32_MAX, at};
  for (const std::uint32_t at : rich) columns_[at] = {UINT32_MAX, at};
}

std::vector<double> zipf_weights(std::uint32_t count, double exponent) {
  std::vector<double> weights(count);
  for (std::uint32_t i = 0; i < count; ++i) weights[i] = std::pow(i + 1.0, -exponent);
  return weights;
}

SlotOrder::SlotOrder(const Distribution& distribution, std::uint32_t flows) : flows_(flows) {
  if (distribution.kind == Distribution::Kind::zipf) {
    lottery_.emplace(zipf_weights(flows, distribution.exponent));
  }
}

SizeOrder::SizeOrder(const std::vector<Size>& sizes, std::size_t least)
    : lottery_([&] {
        std::vector<double> weights;
        for (const Size& size : sizes) weights.push_back(size.weight);
        return weights;
      }()) {
  double weight = 0;
  for (const Size& size : sizes) {
    sizes_.push_back(
        static_cast<std::uint16_t>(std::max<std::size_t>(size.bytes - fcs_bytes, least)));
    mean_bytes_ += sizes_.back() * static_cast<double>(size.weight);
    weight += size.weight;
  }
  mean_bytes_ /= weight;
}

std::uint16_t SizeOrder::most() const {
  return *std::max_element(sizes_.begin(), sizes_.end());
}

}  // namespace sluice::perf
