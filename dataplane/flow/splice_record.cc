#include "dataplane/flow/splice_record.h"

#include <algorithm>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/checksum.h"
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

void change_options_to_endpoint(SpliceRecord& splice, std::span<std::byte> options) {
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

std::uint32_t translate_options_to_endpoint(SpliceRecord& splice, std::span<std::byte> options) {
  const std::uint16_t before = fold_checksum(checksum_sum(options));
  change_options_to_endpoint(splice, options);
  return std::uint32_t{static_cast<std::uint16_t>(~before)} + fold_checksum(checksum_sum(options));
}

std::uint32_t translate_options_to_client(const SpliceRecord& splice, std::span<std::byte> options) {
  const TcpOptionPlaces places = find_options(options);
  if (places.timestamps == TcpOptionPlaces::absent) return 0;
  const std::uint16_t before = fold_checksum(checksum_sum(options));
  add_at(options, places.timestamps + 2u, splice.timestamp_delta);
  return std::uint32_t{static_cast<std::uint16_t>(~before)} + fold_checksum(checksum_sum(options));
}

}  // namespace sluice
