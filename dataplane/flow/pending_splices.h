// PendingSplices: connections whose client is through its handshake with us while the endpoint is not joined yet.
//
//   greeted     the client's cookie came back; we wait for the bytes that say where it wants to go
//   calling     the endpoint is chosen and has our SYN; there is a flow
//   delivering  it has answered, and gets the bytes that we hold until it acknowledges them all; then the entry goes
//
// Bytes   The first copy of a byte is the one that counts: it is what is parsed and what the endpoint gets.
//         At most `held_bytes_max` a connection, in a small piece of memory first and in a large one when it grows.
// Threads One lcore.
// Memory  Fixed: `pending_max` entries, as many small pieces and `large_max` large ones (48 MiB in all; the kernel hands out
//         what is touched). A piece that was freed is given out again last, so what a frame of this burst refers to stays as it is.
// Errors  open() and store() say what is full; the caller has a verdict for each.
// Not kept over a restart: it is seconds at the beginning of a connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/flow/byte_ranges.h"
#include "dataplane/net/client_hello.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/proxy_protocol.h"
#include "dataplane/net/tcp_options.h"

namespace sluice {

inline constexpr std::uint32_t pending_max = 16'384;
inline constexpr std::uint16_t held_bytes_max = hello_bytes_max;

enum class PendingStage : std::uint8_t { unused, greeted, calling, delivering };

struct PendingSplice {
  FlowKey from_client;
  FlowKey origin;                      // the client's own connection: from_client, or what the PROXY header before it names
  FlowHash hash = 0;
  PendingStage stage = PendingStage::unused;
  std::uint8_t endpoint_tries = 0;     // endpoints called so far
  std::uint8_t sent_count = 0;         // SYNs, or rounds of held bytes, toward this endpoint
  ProxyProtocol proxy_protocol = ProxyProtocol::none;
  std::uint16_t mss_max = 0;           // of the VIP; 0: none
  std::uint8_t proxy_bytes = 0;        // length of the header before the client's first byte
  MacAddress client_mac{};             // who handed us the client's last segment, and where: answers go back
  std::uint16_t client_port = 0;
  std::uint32_t vip_id = 0;            // the one chosen, or the listener
  std::uint32_t client_isn = 0;        // the number before the client's own first byte
  std::uint16_t header_bytes = 0;      // of the PROXY header that came before it
  std::uint32_t cookie = 0;            // our initial sequence number toward the client
  TcpOffer client_offer;               // timestamp: the client's last
  std::uint32_t client_window = 0;     // bytes
  std::uint32_t due = 0;               // Instant::stamp() at which something has to be done
  // calling, delivering
  std::uint32_t flow = 0;              // 1 + index of the flow record; 0: none
  std::uint32_t endpoint_isn = 0;
  TcpOffer endpoint_offer;
  std::uint32_t endpoint_window = 0;   // bytes
  std::uint32_t acknowledged = 0;      // of proxy header and held bytes, by the endpoint
  std::uint32_t sent_end = 0;          // of these, how many were sent at all
  std::uint32_t sent_stamp = 0;        // when last
  std::uint32_t failed_endpoint_id = 0;
  std::uint32_t held_end = 0;          // how many of the held bytes are to be delivered
  bool has_heard_data = false;         // the endpoint's bytes have reached the client: no other endpoint may be tried
  // What is held.
  std::uint32_t piece = 0;             // number of the memory piece; valid when has_piece
  bool has_piece = false, is_piece_large = false;
  ByteRanges ranges;
};

enum class StoreResult : std::uint8_t { stored, too_many_pieces, no_memory };

class PendingSplices {
 public:
  PendingSplices();
  PendingSplices(PendingSplices&&) noexcept = default;
  PendingSplices& operator=(PendingSplices&&) noexcept = default;

  PendingSplice* find(const FlowKey& from_client, FlowHash hash);
  const PendingSplice* find(const FlowKey& from_client, FlowHash hash) const;
  PendingSplice* open(const FlowKey& from_client, FlowHash hash);  // it must be absent; nullptr when full
  void close(PendingSplice& pending);
  // For SpliceRecord::pending: never 0.
  std::uint32_t number_of(const PendingSplice& pending) const { return static_cast<std::uint32_t>(&pending - entries_.get()) + 1; }
  PendingSplice& operator[](std::uint32_t number) { return entries_[number - 1]; }

  // Takes the client's bytes from `offset` on; those beyond held_bytes_max are left out.
  StoreResult store(PendingSplice& pending, std::size_t offset, std::span<const std::byte> bytes);
  std::span<const std::byte> held(const PendingSplice& pending) const;  // without a gap from the start
  // Takes away the first of them: what follows becomes the start. Only before anything of it is sent.
  void drop_front(PendingSplice& pending, std::uint16_t bytes);

  // Looks at `count` entries further on and hands those in use to `visit`, which may close them.
  template <class Visit>
  void sweep(std::uint32_t count, Visit visit) {
    for (; count > 0 && used_end_ > 0; --count) {
      if (sweep_position_ >= used_end_) sweep_position_ = 0;
      PendingSplice& pending = entries_[sweep_position_++];
      if (pending.stage != PendingStage::unused) visit(pending);
    }
  }
  std::uint32_t count() const { return count_; }
  std::uint32_t used_end() const { return used_end_; }  // entries at and above it were never used
  std::uint64_t held_memory_bytes() const { return small_.bytes_out() + large_.bytes_out(); }

 private:
  // Equal pieces of memory, given out first in, first out.
  class Pieces {
   public:
    Pieces(std::uint32_t count, std::size_t bytes);
    bool take(std::uint32_t& piece);
    void give_back(std::uint32_t piece);
    std::byte* at(std::uint32_t piece) const { return memory_.get() + piece * bytes_; }
    std::uint64_t bytes_out() const { return (fresh_ - freed_count_) * bytes_; }

   private:
    struct Free {
      void operator()(std::byte* memory) const;
    };
    std::unique_ptr<std::byte[], Free> memory_;
    std::size_t bytes_;
    std::uint32_t count_;
    std::uint32_t fresh_ = 0;             // pieces from here on were never given out
    std::vector<std::uint32_t> freed_;    // ring
    std::uint32_t freed_first_ = 0, freed_count_ = 0;
  };

  std::byte* memory_of(const PendingSplice& pending) const;
  bool make_room(PendingSplice& pending, std::size_t bytes);
  std::size_t place_of(const FlowKey& key, FlowHash hash) const;  // in index_: where it is, or would go

  struct FreeEntries {
    void operator()(PendingSplice* entries) const;
  };
  std::unique_ptr<PendingSplice[], FreeEntries> entries_;
  std::vector<std::uint32_t> unused_;
  std::vector<std::uint32_t> index_;  // open addressing: numbers of entries, 0 for none
  Pieces small_, large_;
  std::uint32_t count_ = 0, used_end_ = 0, sweep_position_ = 0;
};

}  // namespace sluice
