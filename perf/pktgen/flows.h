// The flows of a run: which five-tuples there are, which of them is next, and what size its packet
// has. Pure but for its own random state; the same numbers in every run.
//
// A *tuple* is the number of a five-tuple: client address and port, and the VIP they talk to. There
// are many more tuples than flows. A *slot* is the place of one flow that is alive; its tuple
// changes when the flow is replaced by a new one (churn, connections), always by a tuple of the
// same remainder, so that a packet's slot follows from its addresses without any table.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/net/flow_key.h"
#include "perf/pktgen/text.h"

namespace sluice::perf {

struct Clients {
  AddressRange v4, v6;
  PortSpan ports;
};

// Division by a number that is not known before the run, without the division: Lemire, Kaser, Kurz,
// "Faster remainder by direct computation", 2019. Exact for all 32-bit numbers.
class Divisor {
 public:
  explicit Divisor(std::uint32_t by = 1) : by_(by), magic_(UINT64_MAX / by + 1) {}
  std::uint32_t quotient(std::uint32_t n) const {
    if (by_ == 1) return n;  // its magic number does not fit
    return static_cast<std::uint32_t>(static_cast<unsigned __int128>(magic_) * n >> 64);
  }
  std::uint32_t remainder(std::uint32_t n) const {
    return static_cast<std::uint32_t>(static_cast<unsigned __int128>(magic_ * n) * by_ >> 64);
  }
  operator std::uint32_t() const { return by_; }

 private:
  std::uint32_t by_;
  std::uint64_t magic_;
};

class Tuples {
 public:
  // Errors: not enough addresses and ports for that many flows.
  static Result<Tuples> create(std::vector<AddressPort> vips, const Clients& clients,
                               std::uint8_t protocol_number, std::uint32_t flows);

  std::uint32_t count() const { return count_; }  // a multiple of the number of flows
  std::uint32_t flows() const { return flows_; }
  FlowKey key_of(std::uint32_t tuple) const;
  // Whose packets to that address are: a client's?
  bool is_client(const IpAddress& address) const {
    const AddressRange& range = address.is_v4() ? clients_.v4 : clients_.v6;
    return range.index_of(address) < addresses_;
  }
  // The tuple of which `key` is the exact reverse.
  std::optional<std::uint32_t> tuple_of_reply(const FlowKey& key) const;
  std::uint32_t slot_of(std::uint32_t tuple) const { return flows_.remainder(tuple); }
  std::uint32_t after(std::uint32_t tuple) const {  // the next one of the same slot
    return tuple + flows_ < count_ ? tuple + flows_ : tuple + flows_ - count_;
  }

 private:
  Tuples() = default;

  std::vector<AddressPort> vips_;
  Clients clients_;
  Divisor addresses_;  // of clients, of either family
  Divisor flows_;
  std::uint32_t count_ = 0;
  std::uint8_t protocol_number_ = 0;
};

class Random {
 public:
  explicit Random(std::uint64_t seed = 0x2545f4914f6cdd1dull) : state_(seed) {}
  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(std::uint64_t{next()} * bound >> 32);
  }

 private:
  std::uint64_t state_;
};

// Draws from any weights in constant time: Vose's alias method, 8 bytes an entry.
class Lottery {
 public:
  explicit Lottery(const std::vector<double>& weights);
  std::uint32_t draw(Random& random) const {
    const std::uint32_t at = random.below(static_cast<std::uint32_t>(columns_.size()));
    return random.next() < columns_[at].share ? at : columns_[at].other;
  }

 private:
  struct Column {
    std::uint32_t share, other;  // share of 2^32
  };
  std::vector<Column> columns_;
};

// Weight of rank i is 1 / (i + 1)^exponent.
std::vector<double> zipf_weights(std::uint32_t count, double exponent);

class SlotOrder {
 public:
  SlotOrder(const Distribution& distribution, std::uint32_t flows);
  std::uint32_t next() { return lottery_ ? lottery_->draw(random_) : random_.below(flows_); }

 private:
  std::uint32_t flows_;
  std::optional<Lottery> lottery_;
  Random random_;
};

// Sizes of frames without FCS, drawn by their weights.
class SizeOrder {
 public:
  // Sizes below `least` (what headers and the stamp take, without FCS) become it.
  SizeOrder(const std::vector<Size>& sizes, std::size_t least);
  std::uint16_t next() { return sizes_.size() == 1 ? sizes_[0] : sizes_[lottery_.draw(random_)]; }
  double mean_bytes() const { return mean_bytes_; }  // without FCS
  std::uint16_t most() const;

 private:
  std::vector<std::uint16_t> sizes_;
  Lottery lottery_;
  double mean_bytes_ = 0;
  Random random_{0x9e3779b97f4a7c15ull};
};

}  // namespace sluice::perf
