// The pcapng file format (draft-ietf-opsawg-pcapng), as much as a capture needs: one section, an
// interface each port, enhanced packets with nanosecond stamps, direction and a comment.
//
// Pure: appends whole blocks to a string, so what was written up to any block is a valid file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

struct PcapngPacket {
  std::uint32_t interface = 0;  // in the order in which interfaces were appended, from 0
  std::uint64_t time_ns = 0;    // Unix time
  bool is_outbound = false;
  std::uint32_t frame_bytes = 0;  // as it was on the wire; `bytes` may be fewer
  std::span<const std::byte> bytes;
  std::string_view comment;
};

void append_pcapng_section(std::string& file, std::string_view application);
void append_pcapng_interface(std::string& file, std::string_view name, std::uint32_t snap_bytes);
void append_pcapng_packet(std::string& file, const PcapngPacket& packet);

}  // namespace sluice
