#include "dataplane/net/pcapng.h"

#include <cstring>

namespace sluice {
namespace {

namespace block {
constexpr std::uint32_t section = 0x0a0d0d0a, interface = 1, packet = 6;
}
namespace option {
constexpr std::uint16_t end = 0, comment = 1;
constexpr std::uint16_t section_application = 4;
constexpr std::uint16_t interface_name = 2, interface_time_resolution = 9;
constexpr std::uint16_t packet_flags = 2;
}  // namespace option
constexpr std::uint32_t byte_order_magic = 0x1a2b3c4d;
constexpr std::uint16_t link_ethernet = 1;
constexpr std::uint8_t nanoseconds = 9;  // 10^-9
constexpr std::size_t option_bytes_max = 1'024;

template <class Number>
void put(std::string& file, Number number) {
  file.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void pad(std::string& file, std::size_t bytes) {
  file.append((4 - bytes % 4) % 4, '\0');
}

void put_option(std::string& file, std::uint16_t code, std::string_view value) {
  value = value.substr(0, option_bytes_max);
  put(file, code);
  put(file, static_cast<std::uint16_t>(value.size()));
  file.append(value);
  pad(file, value.size());
}

// Writes the block's two lengths around what `fill` appends.
template <class Fill>
void put_block(std::string& file, std::uint32_t type, Fill fill) {
  const std::size_t start = file.size();
  put(file, type);
  put(file, std::uint32_t{0});
  fill();
  const auto bytes = static_cast<std::uint32_t>(file.size() - start + sizeof(std::uint32_t));
  put(file, bytes);
  std::memcpy(file.data() + start + sizeof type, &bytes, sizeof bytes);
}

}  // namespace

void append_pcapng_section(std::string& file, std::string_view application) {
  put_block(file, block::section, [&] {
    put(file, byte_order_magic);
    put(file, std::uint16_t{1});  // version 1.0
    put(file, std::uint16_t{0});
    put(file, std::int64_t{-1});  // the section's length is not known beforehand
    put_option(file, option::section_application, application);
    put_option(file, option::end, {});
  });
}

void append_pcapng_interface(std::string& file, std::string_view name, std::uint32_t snap_bytes) {
  put_block(file, block::interface, [&] {
    put(file, link_ethernet);
    put(file, std::uint16_t{0});
    put(file, snap_bytes);
    put_option(file, option::interface_name, name);
    put_option(file, option::interface_time_resolution,
               {reinterpret_cast<const char*>(&nanoseconds), 1});
    put_option(file, option::end, {});
  });
}

void append_pcapng_packet(std::string& file, const PcapngPacket& packet) {
  put_block(file, block::packet, [&] {
    put(file, packet.interface);
    put(file, static_cast<std::uint32_t>(packet.time_ns >> 32));
    put(file, static_cast<std::uint32_t>(packet.time_ns));
    put(file, static_cast<std::uint32_t>(packet.bytes.size()));
    put(file, packet.frame_bytes);
    file.append(reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size());
    pad(file, packet.bytes.size());
    const std::uint32_t direction = packet.is_outbound ? 2 : 1;
    put_option(file, option::packet_flags,
               {reinterpret_cast<const char*>(&direction), sizeof direction});
    if (!packet.comment.empty()) put_option(file, option::comment, packet.comment);
    put_option(file, option::end, {});
  });
}

}  // namespace sluice
