// Frames read back, and what is wrong with them: the second half of packet_text.h.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/traces/frame_layout.h"
#include "tests/traces/packet_text.h"

namespace sluice::trace {
namespace {

bool is_icmp_error(std::uint8_t protocol, std::uint8_t type) {
  return protocol == 1 ? type == 3 || type == 11 || type == 12 : protocol == 58 && type >= 1 && type <= 4;
}

// Where the values of MSS options are in a frame.
std::vector<std::size_t> mss_places(std::span<const std::byte> frame, std::size_t tcp, std::size_t header_bytes) {
  std::vector<std::size_t> places;
  for (std::size_t at = tcp + 20; at + 4 <= tcp + header_bytes && byte_at(frame, at) != 0;) {
    if (byte_at(frame, at) == 2 && byte_at(frame, at + 1) == 4) places.push_back(at + 2);
    at += byte_at(frame, at) == 1 ? 1 : std::max<std::size_t>(1, byte_at(frame, at + 1));
  }
  return places;
}

IpAddress address_at(std::span<const std::byte> frame, std::size_t at, bool is_v4) {
  if (!is_v4) return IpAddress::v6(frame.data() + at);
  return IpAddress::v4(be32(read(frame, at, 4)));
}

std::string mac_text(std::span<const std::byte> frame, std::size_t at) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), frame.data() + at, 6);
  return mac.text();
}

void read_tcp_options(std::span<const std::byte> options, PacketText& text) {
  for (std::size_t i = 0; i < options.size();) {
    const std::uint8_t kind = byte_at(options, i);
    if (kind == 0) return;
    if (kind == 1) {
      ++i;
      continue;
    }
    if (i + 2 > options.size() || byte_at(options, i + 1) < 2 || i + byte_at(options, i + 1) > options.size()) return;
    const std::size_t length = byte_at(options, i + 1);
    if (kind == 2 && length == 4) text.options["mss"] = std::to_string(read(options, i + 2, 2));
    if (kind == 3 && length == 3) text.options["ws"] = std::to_string(byte_at(options, i + 2));
    if (kind == 4) text.options["sackok"] = "1";
    if (kind == 8 && length == 10) {
      text.options["tsval"] = std::to_string(read(options, i + 2, 4));
      text.options["tsecr"] = std::to_string(read(options, i + 6, 4));
    }
    if (kind == 5 && length == 10) {
      text.options["sack"] = fmt::format("{}..{}", read(options, i + 2, 4), read(options, i + 6, 4));
    }
    i += length;
  }
}

}  // namespace

PacketText read_frame(std::span<const std::byte> frame) {
  PacketText text;
  if (frame.size() < ethernet_bytes) return text;
  text.options["dmac"] = mac_text(frame, 0);
  text.options["smac"] = mac_text(frame, 6);
  if (read(frame, 12, 2) == 0x0806 && frame.size() >= 42) {
    text.kind = "arp";
    text.flags.insert(read(frame, 20, 2) == 1 ? "request" : "reply");
    text.options["mac"] = mac_text(frame, 22);
    text.options["sender"] = address_at(frame, 28, true).text();
    text.options["target"] = address_at(frame, 38, true).text();
    return text;
  }
  const auto at = layout_of(frame);
  if (!at) return text;
  text.source = address_at(frame, at->l3 + (at->is_v4 ? 12 : 8), at->is_v4).text();
  text.destination = address_at(frame, at->l3 + (at->is_v4 ? 16 : 24), at->is_v4).text();
  text.options["ttl"] = std::to_string(byte_at(frame, at->l3 + (at->is_v4 ? 8 : 7)));
  const std::size_t l4_bytes = at->end - at->l4;
  if (at->is_fragment) {
    text.options["piece"] = fmt::format("{}-{}", at->fragment_offset, at->fragment_offset + l4_bytes);
    text.options["more"] = at->has_more ? "1" : "0";
    text.options["fid"] = std::to_string(at->fragment_id);
    text.kind = at->protocol == 6 ? "tcp" : at->protocol == 17 ? "udp" : at->protocol == 4 || at->protocol == 41 ? "ipip" : "proto";
    if (at->fragment_offset == 0 && (text.kind == "tcp" || text.kind == "udp") && l4_bytes >= 4) {
      text.source_port = std::to_string(read(frame, at->l4, 2));
      text.destination_port = std::to_string(read(frame, at->l4 + 2, 2));
    }
    return text;
  }
  if (const Bytes carried = carried_frame(frame); !carried.empty()) {
    text.kind = at->protocol == 17 ? "gue" : "ipip";
    if (at->protocol == 17) text.source_port = std::to_string(read(frame, at->l4, 2));
    if (at->protocol == 17) text.destination_port = std::to_string(read(frame, at->l4 + 2, 2));
    if (at->protocol == 17) text.options["sum"] = read(frame, at->l4 + 6, 2) == 0 ? "none" : "set";
    text.options["tos"] = std::to_string(at->is_v4 ? byte_at(frame, at->l3 + 1) : read(frame, at->l3, 4) >> 20 & 0xff);
    if (at->is_v4) text.options["df"] = std::to_string(read(frame, at->l3 + 6, 2) >> 14 & 1);
    if (at->is_v4) text.options["id"] = std::to_string(read(frame, at->l3 + 4, 2));
    if (!at->is_v4) text.options["label"] = std::to_string(read(frame, at->l3, 4) & 0xfffff);
    text.about = std::make_shared<PacketText>(read_frame(carried));
    for (const char* noise : {"smac", "dmac"}) text.about->options.erase(noise);
    return text;
  }
  if (at->is_v4) text.options["df"] = std::to_string(read(frame, at->l3 + 6, 2) >> 14 & 1);
  if (l4_bytes < l4_header_bytes_min(at->protocol)) return text;
  if (at->protocol == 6) {
    text.kind = "tcp";
    text.source_port = std::to_string(read(frame, at->l4, 2));
    text.destination_port = std::to_string(read(frame, at->l4 + 2, 2));
    const std::uint8_t flags = byte_at(frame, at->l4 + 13);
    for (std::size_t i = 0; i < tcp_flag_names.size(); ++i) {
      if ((flags >> i & 1) != 0) text.flags.insert(tcp_flag_names[i]);
    }
    text.options["seq"] = std::to_string(read(frame, at->l4 + 4, 4));
    text.options["ack"] = std::to_string(read(frame, at->l4 + 8, 4));
    text.options["win"] = std::to_string(read(frame, at->l4 + 14, 2));
    const std::size_t header_bytes = (byte_at(frame, at->l4 + 12) >> 4) * 4u;
    text.options["len"] = std::to_string(l4_bytes - header_bytes);
    if (header_bytes >= 20 && header_bytes <= l4_bytes) {
      read_tcp_options(frame.subspan(at->l4 + 20, header_bytes - 20), text);
      if (l4_bytes > header_bytes) text.options["payload"] = payload_mark(frame.subspan(at->l4 + header_bytes, l4_bytes - header_bytes));
    }
  } else if (at->protocol == 17) {
    text.kind = "udp";
    text.source_port = std::to_string(read(frame, at->l4, 2));
    text.destination_port = std::to_string(read(frame, at->l4 + 2, 2));
    text.options["len"] = std::to_string(l4_bytes - 8);
    const std::uint32_t checksum = read(frame, at->l4 + 6, 2);
    text.options["sum"] = checksum == 0 ? "none" : fmt::format("0x{:04x}", checksum);
    if (l4_bytes > 8) text.options["payload"] = payload_mark(frame.subspan(at->l4 + 8, l4_bytes - 8));
  } else if (at->protocol == 58 && (byte_at(frame, at->l4) == 135 || byte_at(frame, at->l4) == 136) && l4_bytes >= 24) {
    text.kind = "nd";
    const bool is_solicitation = byte_at(frame, at->l4) == 135;
    text.flags.insert(is_solicitation ? "solicit" : "advertise");
    text.options["flags"] = fmt::format("0x{:08x}", read(frame, at->l4 + 4, 4));
    text.options["target"] = address_at(frame, at->l4 + 8, false).text();
    text.options["sender"] = is_solicitation ? text.source : text.destination;
    text.options["to"] = text.destination;
    if (l4_bytes >= 32) text.options["mac"] = mac_text(frame, at->l4 + 26);
    text.source.clear();
    text.destination.clear();
  } else if (at->protocol == (at->is_v4 ? 1 : 58)) {
    text.kind = "icmp";
    const std::uint8_t type = byte_at(frame, at->l4);
    if (type == 8 || type == 128) text.flags.insert("echo");
    if (type == 0 || type == 129) text.flags.insert("reply");
    text.options["type"] = std::to_string(type);
    text.options["code"] = std::to_string(byte_at(frame, at->l4 + 1));
    text.options["id"] = std::to_string(read(frame, at->l4 + 4, 2));
    text.options["n"] = std::to_string(read(frame, at->l4 + 6, 2));
    text.options["len"] = std::to_string(l4_bytes - 8);
    if (const Bytes quoted = quoted_frame(frame); !quoted.empty()) {
      text.options["mtu"] = std::to_string(read(frame, at->l4 + (at->is_v4 ? 6 : 4), at->is_v4 ? 2 : 4));
      text.about = std::make_shared<PacketText>(read_frame(quoted));
      for (const char* noise : {"smac", "dmac"}) text.about->options.erase(noise);
      text.about->options["quote"] = std::to_string(l4_bytes - 8);
    }
  } else {
    text.kind = "proto";
    text.options["proto"] = std::to_string(at->protocol);
  }
  return text;
}

std::string faults_of(std::span<const std::byte> frame) {
  if (frame.size() < ethernet_bytes) return "shorter than an Ethernet header";
  if ((byte_at(frame, 6) & 1) != 0) return "a multicast source MAC";
  const std::uint32_t type = read(frame, 12, 2);
  if (type == 0x0806) return frame.size() < 42 ? "ARP is cut off" : "";
  const auto at = layout_of(frame);
  if (!at) return "lengths of the IP packet do not fit the frame";
  if (byte_at(frame, at->l3) >> 4 != (at->is_v4 ? 4 : 6)) return "IP version";
  if (at->is_v4 && (at->l4 < at->l3 + 20 || read(frame, at->l3 + 10, 2) != ip_checksum(frame, *at))) {
    return fmt::format("IPv4 header checksum is {:04x}, should be {:04x}", read(frame, at->l3 + 10, 2),
                       ip_checksum(frame, *at));
  }
  if (byte_at(frame, at->l3 + (at->is_v4 ? 8 : 7)) == 0) return "TTL 0";
  const std::size_t header_bytes = l4_header_bytes_min(at->protocol);
  if (header_bytes == 0 || at->is_fragment) return "";  // of a fragment the sum says nothing: see Reassembly
  if (at->end - at->l4 < header_bytes) return "transport header is cut off";
  const std::uint32_t checksum = read(frame, at->l4 + checksum_offset(at->protocol), 2);
  if (at->protocol == 17 && checksum == 0) return at->is_v4 ? "" : "UDP over IPv6 without a checksum";
  const std::uint16_t right = l4_checksum(frame, *at);
  // In one's complement 0000 and ffff are the same sum.
  if (checksum == right || (at->protocol != 17 && (checksum ^ right) == 0xffff && (checksum == 0 || right == 0))) return "";
  return fmt::format("transport checksum is {:04x}, should be {:04x}", checksum, right);
}

std::string datagram_name(std::span<const std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at || !at->is_fragment) return {};
  return fmt::format("{} {} {} {}", address_at(frame, at->l3 + (at->is_v4 ? 12 : 8), at->is_v4).text(),
                     address_at(frame, at->l3 + (at->is_v4 ? 16 : 24), at->is_v4).text(), at->fragment_id, at->protocol);
}

Bytes Reassembly::add(const std::string& name, std::span<const std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at || !at->is_fragment) return {};
  Pieces& pieces = pieces_[name];
  pieces.payload[at->fragment_offset] = Bytes(frame.begin() + static_cast<long>(at->l4), frame.begin() + static_cast<long>(at->end));
  if (!at->has_more) pieces.total = at->fragment_offset + at->end - at->l4;
  if (at->fragment_offset == 0) pieces.head.assign(frame.begin(), frame.begin() + static_cast<long>(at->l4 - (at->is_v4 ? 0 : 8)));
  Bytes whole = pieces.head;
  if (whole.empty() || pieces.total == 0) return {};
  for (const auto& [offset, payload] : pieces.payload) {
    if (whole.size() != pieces.head.size() + offset) return {};
    whole.insert(whole.end(), payload.begin(), payload.end());
  }
  if (whole.size() != pieces.head.size() + pieces.total) return {};
  if (at->is_v4) {
    write(whole, 16, 2, whole.size() - ethernet_bytes);
    write(whole, 20, 2, 0);
    Layout header = *at;
    write(whole, 24, 2, ip_checksum(whole, header));
  } else {
    write(whole, 18, 2, pieces.total);
    whole[20] = std::byte{at->protocol};
  }
  pieces_.erase(name);
  return whole;
}

Bytes quoted_frame(std::span<const std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at || at->end < at->l4 + 8 + (at->is_v4 ? 20u : 40u)) return {};
  if (!is_icmp_error(at->protocol, byte_at(frame, at->l4))) return {};
  Bytes quoted(ethernet_bytes, std::byte{0});
  write(quoted, 12, 2, at->is_v4 ? 0x0800 : 0x86dd);
  quoted.insert(quoted.end(), frame.begin() + static_cast<long>(at->l4 + 8), frame.begin() + static_cast<long>(at->end));
  // Read as far as it goes: what was cut off is zero here.
  const std::size_t bytes = at->is_v4 ? read(quoted, 16, 2) : 40 + read(quoted, 18, 2);
  quoted.resize(std::max(quoted.size(), ethernet_bytes + bytes), std::byte{0});
  return quoted;
}

Bytes carried_frame(std::span<const std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at || at->is_fragment) return {};
  std::size_t inner = at->l4;
  std::uint8_t protocol = at->protocol;
  if (protocol == 17 && at->end >= at->l4 + 12 && read(frame, at->l4 + 2, 2) == gue_port) {
    if (byte_at(frame, at->l4 + 8) != 0 || read(frame, at->l4 + 10, 2) != 0) return {};
    protocol = byte_at(frame, at->l4 + 9);
    inner += 12;
  }
  if (protocol != 4 && protocol != 41) return {};
  Bytes carried(ethernet_bytes, std::byte{0});
  write(carried, 12, 2, protocol == 4 ? 0x0800 : 0x86dd);
  carried.insert(carried.end(), frame.begin() + static_cast<long>(inner), frame.begin() + static_cast<long>(at->end));
  return carried;
}

void fix_checksums(std::span<std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at) return;
  if (at->is_v4) write(frame, at->l3 + 10, 2, ip_checksum(frame, *at));
  const std::size_t header_bytes = l4_header_bytes_min(at->protocol);
  if (header_bytes == 0 || at->is_fragment || at->end - at->l4 < header_bytes) return;
  const std::size_t place = at->l4 + checksum_offset(at->protocol);
  if (at->protocol == 17 && read(frame, place, 2) == 0) return;
  write(frame, place, 2, l4_checksum(frame, *at));
}

std::vector<std::size_t> mss_offsets(std::span<const std::byte> frame) {
  const auto at = layout_of(frame);
  if (!at || at->protocol != 6 || at->end - at->l4 < 20) return {};
  const std::size_t header_bytes = (byte_at(frame, at->l4 + 12) >> 4) * 4u;
  return mss_places(frame, at->l4, std::min(at->end - at->l4, header_bytes));
}

std::string hex_dump(std::span<const std::byte> bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    out += fmt::format("{}{:02x}", i == 0 ? "" : i % 16 == 0 ? "\n      " : i % 2 == 0 ? " " : "", byte_at(bytes, i));
  }
  return out;
}

}  // namespace sluice::trace
