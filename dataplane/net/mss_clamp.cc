#include "dataplane/net/mss_clamp.h"

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

constexpr std::byte end_of_options{0}, no_operation{1}, maximum_segment_size{2};
constexpr std::size_t mss_option_bytes = 4;

// `at`: where the option begins.
void lower(std::span<std::byte> tcp_header, std::size_t at, std::uint16_t mss_max) {
  Be16 stated;
  std::memcpy(&stated, &tcp_header[at + 2], sizeof stated);
  if (stated.host() <= mss_max) return;
  const Be16 clamped = be16(mss_max);
  std::memcpy(&tcp_header[at + 2], &clamped, sizeof clamped);
  auto& tcp = *reinterpret_cast<TcpHeader*>(tcp_header.data());
  // At an odd place the bytes of the value belong to two words of the sum, which is the sum of
  // the swapped value.
  const bool is_odd = at % 2 != 0;
  tcp.checksum =
      ChecksumDelta()
          .change(is_odd ? stated.host() : stated.raw, is_odd ? clamped.host() : clamped.raw)
          .apply_to(tcp.checksum);
}

}  // namespace

void clamp_mss(std::span<std::byte> tcp_header, std::uint16_t mss_max) {
  std::size_t at = sizeof(TcpHeader);
  while (at < tcp_header.size() && tcp_header[at] != end_of_options) {
    if (tcp_header[at] == no_operation) {
      ++at;
      continue;
    }
    const std::size_t option_bytes =
        at + 1 < tcp_header.size() ? static_cast<std::size_t>(tcp_header[at + 1]) : 0;
    if (option_bytes < 2 || at + option_bytes > tcp_header.size())
      return;  // lies: the receiver judges it
    // Each of them: with two, stacks differ about which one counts.
    if (tcp_header[at] == maximum_segment_size && option_bytes == mss_option_bytes) lower(tcp_header, at, mss_max);
    at += option_bytes;
  }
}

}  // namespace sluice
