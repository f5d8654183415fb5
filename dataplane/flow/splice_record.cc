#include "dataplane/flow/splice_record.h"

#include <algorithm>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/tcp_options.h"

namespace sluice {
namespace {

void add_at(std::span<std::byte> options, std::size_t at, std::uint32_t delta) {
  Be32 word;
  std::memcpy(&word, options.data() + at, sizeof word);
  word = be32(word.host() + delta);
  std::memcpy(options.data() + at, &word, sizeof word);
}

std::uint32_t word_at(std::span<const std::byte> options, std::size_t at) {
  Be32 word;
  std::memcpy(&word, options.data() + at, sizeof word);
  return word.host();
}

void blank(std::span<std::byte> options, std::size_t at, std::size_t bytes) {
  std::fill_n(options.begin() + static_cast<std::ptrdiff_t>(at), bytes, std::byte{tcp_option::no_operation});
}

Be16 shifted(Be16 window, int shift) {
  const std::uint32_t wide = shift >= 0 ? static_cast<std::uint32_t>(window.host()) << shift : window.host() >> -shift;
  return be16(static_cast<std::uint16_t>(std::min(wide, 0xffffu)));
}

// What is changed in a header, as the difference that its checksum takes in (RFC 1624, equation 3). To sum the header up
// again would wait for the words that were just written into it.
class Changes {
 public:
  void replace(Be32& word, Be32 now) {
    sum_ += std::uint64_t{static_cast<std::uint32_t>(~word.raw)} + now.raw;
    word = now;
  }
  void replace(Be16& word, Be16 now) {
    sum_ += std::uint64_t{static_cast<std::uint16_t>(~word.raw)} + now.raw;
    word = now;
  }
  // Of `bytes`, which begin at an even place of the header, whatever `change` does to them.
  template <class Change>
  void within(std::span<const std::byte> bytes, Change change) {
    sum_ += static_cast<std::uint16_t>(~fold_checksum(checksum_sum(bytes)));
    change();
    sum_ += fold_checksum(checksum_sum(bytes));
  }
  std::uint16_t apply_to(std::uint16_t checksum) const {
    return static_cast<std::uint16_t>(~fold_checksum(static_cast<std::uint16_t>(~checksum) + sum_));
  }

 private:
  std::uint64_t sum_ = 0;
};

bool is_syn(const TcpHeader& tcp) { return (tcp.flags & tcp_flag::syn) != 0; }  // its window is not scaled

void translate_options_to_endpoint(SpliceRecord& splice, std::span<std::byte> options) {
  const TcpOptionPlaces places = find_options(options);
  if (places.timestamps != TcpOptionPlaces::absent) {
    if ((splice.flags & splice_flag::lends_timestamps) != 0) {
      splice.client_timestamp = word_at(options, places.timestamps + 2u);
      blank(options, places.timestamps, 10);
    } else {
      add_at(options, places.timestamps + 6u, 0 - splice.timestamp_delta);
    }
  }
  if (places.sack == TcpOptionPlaces::absent) return;
  if ((splice.flags & splice_flag::removes_sack) != 0) {
    blank(options, places.sack, 2u + places.sack_block_count * 8u);
    return;
  }
  for (std::size_t edge = 0; edge < places.sack_block_count * 2u; ++edge) {
    add_at(options, places.sack + 2u + edge * 4, 0 - splice.sequence_delta);
  }
}

}  // namespace

std::uint32_t seal_of(const SpliceRecord& splice, std::uint32_t flow_check) {
  SpliceRecord agreed;
  agreed.sequence_delta = splice.sequence_delta;
  agreed.timestamp_delta = splice.timestamp_delta;
  agreed.client_isn = splice.client_isn;
  agreed.shift_to_client = splice.shift_to_client;
  agreed.shift_to_endpoint = splice.shift_to_endpoint;
  agreed.flags = splice.flags;
  return crc32c(std::as_bytes(std::span(&agreed, 1)), flow_check);
}

bool is_sealed(const SpliceRecord& splice, std::uint32_t flow_check) {
  // A sealed record cannot hold other scales, one that somebody made up can.
  const auto is_scale = [](int shift) { return shift >= -window_scale_max && shift <= window_scale_max; };
  return splice.check == seal_of(splice, flow_check) && is_scale(splice.shift_to_client) && is_scale(splice.shift_to_endpoint);
}

void translate_to_endpoint(SpliceRecord& splice, std::span<std::byte> header) {
  auto& tcp = *reinterpret_cast<TcpHeader*>(header.data());
  const auto options = header.subspan(sizeof tcp);
  Changes changes;
  if ((tcp.flags & tcp_flag::ack) != 0) {
    changes.replace(tcp.acknowledgment, be32(tcp.acknowledgment.host() - splice.sequence_delta));
  }
  if (!is_syn(tcp)) changes.replace(tcp.window, shifted(tcp.window, splice.shift_to_endpoint));
  if (!options.empty()) changes.within(options, [&] { translate_options_to_endpoint(splice, options); });
  tcp.checksum = changes.apply_to(tcp.checksum);
}

void translate_to_client(const SpliceRecord& splice, std::span<std::byte> header) {
  auto& tcp = *reinterpret_cast<TcpHeader*>(header.data());
  const auto options = header.subspan(sizeof tcp);
  Changes changes;
  changes.replace(tcp.sequence, be32(tcp.sequence.host() + splice.sequence_delta));
  if (!is_syn(tcp)) changes.replace(tcp.window, shifted(tcp.window, splice.shift_to_client));
  if (!options.empty()) {
    changes.within(options, [&] {
      const TcpOptionPlaces places = find_options(options);
      if (places.timestamps != TcpOptionPlaces::absent) add_at(options, places.timestamps + 2u, splice.timestamp_delta);
    });
  }
  tcp.checksum = changes.apply_to(tcp.checksum);
}

}  // namespace sluice
