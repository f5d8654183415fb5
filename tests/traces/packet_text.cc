#include "tests/traces/packet_text.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>

#include "tests/traces/hello_text.h"

namespace sluice::trace {
namespace {

constexpr std::size_t ethernet_bytes = 14;
constexpr std::uint32_t gue_port = 6080;
const std::array<std::string, 6> tcp_flag_names = {"fin", "syn", "rst", "psh", "ack", "urg"};

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); }
std::uint32_t read(std::span<const std::byte> bytes, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | byte_at(bytes, at + i);
  return value;
}
void write(std::span<std::byte> bytes, std::size_t at, std::size_t count, std::uint64_t value) {
  for (std::size_t i = count; i-- > 0; value >>= 8) bytes[at + i] = static_cast<std::byte>(value & 0xff);
}
template <class Array>
void append_array(Bytes& bytes, const Array& array) {
  for (const auto byte : array) bytes.push_back(static_cast<std::byte>(byte));
}
void append_address(Bytes& bytes, IpAddress address) {
  const auto all = address.bytes();
  bytes.insert(bytes.end(), reinterpret_cast<const std::byte*>(all.data()) + (address.is_v4() ? 12 : 0),
               reinterpret_cast<const std::byte*>(all.data()) + 16);
}

// RFC 1071, the plain way: sixteen bits at a time, high byte first.
std::uint16_t plain_checksum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(byte_at(bytes, i) << 8 | (i + 1 < bytes.size() ? byte_at(bytes, i + 1) : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

struct Layout {  // where things are in an IP frame that is long enough
  bool is_v4 = false;
  std::size_t l3 = ethernet_bytes, l4 = 0, end = 0;
  std::uint8_t protocol = 0;
  bool is_fragment = false, has_more = false;
  std::size_t fragment_offset = 0;
  std::uint32_t fragment_id = 0;
};

bool is_icmp_error(std::uint8_t protocol, std::uint8_t type) {
  return protocol == 1 ? type == 3 || type == 11 || type == 12 : protocol == 58 && type >= 1 && type <= 4;
}

std::optional<Layout> layout_of(std::span<const std::byte> frame) {
  if (frame.size() < ethernet_bytes) return std::nullopt;
  const std::uint32_t type = read(frame, 12, 2);
  Layout at;
  if (type == 0x0800 && frame.size() >= at.l3 + 20) {
    at.is_v4 = true;
    at.l4 = at.l3 + (byte_at(frame, at.l3) & 0xfu) * 4u;
    at.end = at.l3 + read(frame, at.l3 + 2, 2);
    at.protocol = byte_at(frame, at.l3 + 9);
    const std::uint32_t word = read(frame, at.l3 + 6, 2);
    at.fragment_offset = (word & 0x1fff) * 8;
    at.has_more = (word & 0x2000) != 0;
    at.is_fragment = at.has_more || at.fragment_offset != 0;
    at.fragment_id = read(frame, at.l3 + 4, 2);
  } else if (type == 0x86dd && frame.size() >= at.l3 + 40) {
    at.l4 = at.l3 + 40;
    at.end = at.l4 + read(frame, at.l3 + 4, 2);
    at.protocol = byte_at(frame, at.l3 + 6);
    while (at.protocol == 0 || at.protocol == 43 || at.protocol == 60 || at.protocol == 44) {
      if (at.l4 + 8 > frame.size()) return std::nullopt;
      if (at.protocol == 44) {
        const std::uint32_t word = read(frame, at.l4 + 2, 2);
        at.fragment_offset = word & 0xfff8;
        at.has_more = (word & 1) != 0;
        at.is_fragment = at.has_more || at.fragment_offset != 0;
        at.fragment_id = read(frame, at.l4 + 4, 4);
        at.protocol = byte_at(frame, at.l4);
        at.l4 += 8;
        if (at.is_fragment) break;
        continue;
      }
      at.protocol = byte_at(frame, at.l4);
      at.l4 += (byte_at(frame, at.l4 + 1) + 1u) * 8u;
    }
  } else {
    return std::nullopt;
  }
  if (at.l4 < at.l3 + 20 || at.l4 > at.end || at.end > frame.size()) return std::nullopt;
  return at;
}

std::size_t l4_header_bytes_min(std::uint8_t protocol) {
  return protocol == 6 ? 20 : protocol == 17 || protocol == 1 || protocol == 58 ? 8 : 0;
}
std::size_t checksum_offset(std::uint8_t protocol) { return protocol == 6 ? 16 : protocol == 17 ? 6 : 2; }

// UDP says itself how long it is; what the IP packet has behind it is not summed (RFC 768).
std::size_t summed_end(std::span<const std::byte> frame, const Layout& at) {
  if (at.protocol != 17 || at.is_fragment) return at.end;
  const std::size_t stated = read(frame, at.l4 + 4, 2);
  return stated >= 8 && at.l4 + stated < at.end ? at.l4 + stated : at.end;
}

std::uint16_t l4_checksum(std::span<const std::byte> frame, const Layout& at) {
  const std::size_t end = summed_end(frame, at);
  Bytes covered;
  if (at.protocol != 1) {
    const std::size_t address_bytes = at.is_v4 ? 4 : 16;
    const std::size_t addresses = at.l3 + (at.is_v4 ? 12 : 8);
    covered.assign(frame.begin() + static_cast<long>(addresses),
                   frame.begin() + static_cast<long>(addresses + 2 * address_bytes));
    append(covered, 4, end - at.l4);
    append(covered, 4, at.protocol);
  }
  const std::size_t pseudo_bytes = covered.size();
  covered.insert(covered.end(), frame.begin() + static_cast<long>(at.l4), frame.begin() + static_cast<long>(end));
  write(covered, pseudo_bytes + checksum_offset(at.protocol), 2, 0);
  const std::uint16_t checksum = plain_checksum(covered);
  return at.protocol == 17 && checksum == 0 ? 0xffff : checksum;
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

std::uint16_t ip_checksum(std::span<const std::byte> frame, const Layout& at) {
  Bytes header(frame.begin() + static_cast<long>(at.l3), frame.begin() + static_cast<long>(at.l4));
  write(header, 10, 2, 0);
  return plain_checksum(header);
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

void split_address(const std::string& word, std::string& address, std::string& port) {
  if (!word.empty() && word[0] == '[') {
    const std::size_t close = word.find(']');
    address = word.substr(1, close - 1);
    if (close != std::string::npos && close + 1 < word.size()) port = word.substr(close + 2);
    return;
  }
  const std::size_t colon = word.find(':');
  if (colon == std::string::npos || word.find(':', colon + 1) != std::string::npos) {
    address = word;  // no port, or a bare IPv6 address
    return;
  }
  address = word.substr(0, colon);
  port = word.substr(colon + 1);
}

bool has_options(const PacketText& text) {
  for (const char* key : {"mss", "ws", "sackok", "tsval", "sack"}) {
    if (text.options.contains(key)) return true;
  }
  return false;
}

// As Linux orders them.
Bytes tcp_options_of(const PacketText& text) {
  Bytes options;
  if (text.options.contains("mss")) append(options, 4, 0x02040000 | text.number("mss", 0));
  if (text.options.contains("sackok")) append(options, 2, 0x0402);
  if (text.options.contains("tsval")) {
    if (!text.options.contains("sackok")) append(options, 2, 0x0101);
    append(options, 2, 0x080a);
    append(options, 4, text.number("tsval", 0));
    append(options, 4, text.number("tsecr", 0));
  } else if (text.options.contains("sackok")) {
    append(options, 2, 0x0101);
  }
  if (text.options.contains("ws")) append(options, 4, 0x01030300 | text.number("ws", 0));
  if (const std::string block = text.option("sack"); !block.empty()) {
    const std::size_t dots = block.find("..");
    append(options, 4, 0x0101050a);
    append(options, 4, std::stoull(block.substr(0, dots)));
    append(options, 4, std::stoull(block.substr(dots + 2)));
  }
  return options;
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

bool is_word(const std::string& word, std::initializer_list<const char*> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

void append(Bytes& bytes, std::size_t byte_count, std::uint64_t value) {
  bytes.resize(bytes.size() + byte_count);
  write(bytes, bytes.size() - byte_count, byte_count, value);
}

Words words_of(const std::string& line) {
  Words words;
  std::string word;
  for (const char c : line.substr(0, line.find('#')) + " ") {
    const bool is_sign = c == '{' || c == '}' || c == ';';
    if (c != ' ' && c != '\t' && !is_sign) {
      word += c;
      continue;
    }
    if (!word.empty()) words.push_back(std::exchange(word, {}));
    if (is_sign) words.emplace_back(1, c);
  }
  return words;
}

std::string PacketText::option(const std::string& key, const std::string& fallback) const {
  const auto found = options.find(key);
  return found == options.end() ? fallback : found->second;
}

std::uint64_t PacketText::number(const std::string& key, std::uint64_t fallback) const {
  const auto found = options.find(key);
  if (found == options.end()) return fallback;
  const bool is_hex = found->second.starts_with("0x");
  std::uint64_t value = fallback;
  const char* first = found->second.data() + (is_hex ? 2 : 0);
  std::from_chars(first, found->second.data() + found->second.size(), value, is_hex ? 16 : 10);
  return value;
}

Result<PacketText> PacketText::parse(const Words& words) {
  PacketText text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto next = [&]() -> std::string { return i + 1 < words.size() ? words[++i] : std::string(); };
    const std::size_t equals = word.find('=');
    if (equals != std::string::npos) {
      text.options[word.substr(0, equals)] = word.substr(equals + 1);
    } else if (i + 1 < words.size() && words[i + 1] == ">") {
      split_address(word, text.source, text.source_port);
      ++i;
      split_address(next(), text.destination, text.destination_port);
    } else if (word == "about" || word == "carrying") {
      auto quoted = PacketText::parse({words.begin() + static_cast<long>(i) + 1, words.end()});
      if (!quoted) return quoted;
      text.about = std::make_shared<PacketText>(std::move(*quoted));
      break;
    } else if (is_word(word, {"tcp", "udp", "icmp", "ipip", "gue"})) {
      text.kind = word;
    } else if (is_word(word, {"arp", "nd"})) {
      text.kind = word;
      text.flags.insert(next());
      text.options[text.flags.contains("reply") ? "sender" : "target"] = next();
    } else if (word == "tell") {
      text.options[text.flags.contains("reply") ? "target" : "sender"] = next();
    } else if (word == "is") {
      text.options["mac"] = next();
    } else if (word == "proto" || word == "raw") {
      text.kind = word;
      text.options[word] = next();
    } else if (is_word(word, {"fin", "syn", "rst", "psh", "ack", "urg", "echo", "reply", "none"})) {
      if (word != "none") text.flags.insert(word);
    } else {
      return fail(fmt::format("'{}' says nothing about a packet", word));
    }
  }
  if (text.kind.empty()) return fail("no kind of packet: tcp, udp, icmp, arp, nd, proto or raw");
  return text;
}

std::string PacketText::text() const {
  std::string out;
  const auto side = [](const std::string& address, const std::string& port) {
    const std::string shown = address.find(':') == std::string::npos ? address : "[" + address + "]";
    return port.empty() ? address : shown + ":" + port;
  };
  if (!source.empty()) out = side(source, source_port) + " > " + side(destination, destination_port) + " ";
  out += kind;
  for (const std::string& flag : flags) out += " " + flag;
  for (const auto& [key, value] : options) out += " " + key + "=" + value;
  if (about) out += (kind == "icmp" ? " about " : " carrying ") + about->text();
  return out;
}

namespace {

std::vector<std::string> split_list(std::string list) {
  std::vector<std::string> words;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    words.push_back(list.substr(0, comma));
    list.erase(0, comma + 1);
  }
  return words;
}

void append_hex(Bytes& bytes, const std::string& hex) {
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) append(bytes, 1, std::stoul(hex.substr(i, 2), nullptr, 16));
}

void append_characters(Bytes& bytes, const std::string& text) {
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
}

// What `proxied` says, see packet_text.h.
void append_proxy_header(Bytes& bytes, const std::string& said, const std::string& tlvs) {
  constexpr const char* signature = "0d0a0d0a000d0a515549540a";
  const auto words = split_list(said);
  if (words.size() < 3) return said == "local" ? append_hex(bytes, signature + std::string("20000000")) : append_characters(bytes, "PROXY UNKNOWN\r\n");
  std::string addresses[2], ports[2];
  for (int i = 0; i < 2; ++i) split_address(words[static_cast<std::size_t>(i) + 1], addresses[i], ports[i]);
  const bool is_v4 = addresses[0].find(':') == std::string::npos;
  if (words[0] == "v1") {
    return append_characters(bytes, fmt::format("PROXY {} {} {} {} {}\r\n", is_v4 ? "TCP4" : "TCP6", addresses[0], addresses[1], ports[0], ports[1]));
  }
  append_hex(bytes, signature + std::string(is_v4 ? "2111" : "2121"));
  append(bytes, 2, (is_v4 ? 12u : 36u) + tlvs.size() / 2);
  for (const std::string& address : addresses) {
    const auto all = IpAddress::parse(address)->bytes();
    append_array(bytes, std::span(all).subspan(is_v4 ? 12 : 0));
  }
  for (const std::string& port : ports) append(bytes, 2, std::stoul(port));
  append_hex(bytes, tlvs);
}

}  // namespace

std::optional<Bytes> payload_of(const PacketText& text) {
  Bytes payload;
  if (const std::string proxied = text.option("proxied"); !proxied.empty()) append_proxy_header(payload, proxied, text.option("tlvs"));
  if (const std::string name = text.option("hello"); !name.empty()) {
    HelloText hello;
    if (name != "none") hello.name = name;
    hello.has_grease = text.options.contains("grease");
    if (text.options.contains("pq")) hello.key_share_bytes = 1'216;
    hello.padding_bytes = text.number("padding", 0);
    hello.record_bytes_max = text.number("records", hello.record_bytes_max);
    hello.alpn = split_list(text.option("alpn"));
    const Bytes built = build_hello(hello);
    payload.insert(payload.end(), built.begin(), built.end());
  } else if (text.options.contains("text")) {
    append_characters(payload, text.option("text"));
  } else if (text.options.contains("bytes")) {
    append_hex(payload, text.option("bytes"));
  } else if (payload.empty()) {
    return std::nullopt;
  }
  if (const std::string part = text.option("part"); !part.empty()) {
    const std::size_t dash = part.find('-');
    const std::size_t first = std::min<std::size_t>(std::stoul(part.substr(0, dash)), payload.size());
    const std::size_t end = dash + 1 < part.size() ? std::stoul(part.substr(dash + 1)) : payload.size();
    payload = Bytes(payload.begin() + static_cast<long>(first), payload.begin() + static_cast<long>(std::min(end, payload.size())));
  }
  return payload;
}

std::string payload_mark(std::span<const std::byte> payload) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const std::byte byte : payload) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ull;
  return fmt::format("{}/{:x}", payload.size(), hash);
}

Result<Bytes> build_frame(const PacketText& text, MacAddress source_mac, MacAddress destination_mac,
                          std::uint32_t number) {
  Bytes frame;
  if (text.kind == "raw") {
    const std::string hex = text.option("raw");
    if (hex.size() % 2 != 0) return fail("raw: an odd number of hex digits");
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      append(frame, 1, std::stoul(hex.substr(i, 2), nullptr, 16));
    }
    return frame;
  }
  const auto address_of = [&](const std::string& word) { return IpAddress::parse(word); };
  const auto mac_of = [&](const std::string& key, MacAddress fallback) {
    const auto mac = MacAddress::parse(text.option(key));
    return mac ? *mac : fallback;
  };

  if (text.kind == "arp") {
    const bool is_request = text.flags.contains("request");
    const auto sender = address_of(text.option("sender")), target = address_of(text.option("target"));
    if (!sender || !target) return fail("arp: two IPv4 addresses are needed: arp request A tell B");
    const MacAddress sender_mac = mac_of("mac", source_mac);
    append_array(frame, mac_of("dmac", is_request ? MacAddress::broadcast() : destination_mac).bytes);
    append_array(frame, mac_of("smac", sender_mac).bytes);
    append(frame, 2, 0x0806);
    append(frame, 2, text.number("hardware", 1));
    append(frame, 2, 0x0800);
    append(frame, 2, 0x0604);
    append(frame, 2, text.number("operation", is_request ? 1 : 2));
    append_array(frame, sender_mac.bytes);
    append_address(frame, *sender);
    append_array(frame, is_request ? MacAddress{}.bytes : destination_mac.bytes);
    append_address(frame, *target);
    if (text.options.contains("cut")) frame.resize(text.number("cut", 0));
    return frame;
  }

  std::uint8_t protocol = 0;
  Bytes l4;
  IpAddress source, destination;
  std::uint64_t ttl = text.number("ttl", 64);
  if (text.kind == "nd") {
    const bool is_solicitation = text.flags.contains("solicit");
    const auto target = address_of(text.option("target")), peer = address_of(text.option("sender"));
    if (!target || !peer) return fail("nd: two IPv6 addresses are needed: nd solicit TARGET tell SENDER");
    protocol = 58;
    ttl = text.number("ttl", 255);
    append(l4, 4, is_solicitation ? 0x87000000 : 0x88000000);
    append(l4, 4, text.number("flags", is_solicitation ? 0 : 0x60000000));
    append_address(l4, *target);
    const MacAddress mac = mac_of("mac", source_mac);
    if (text.option("option") != "none") {
      append(l4, 2, is_solicitation ? 0x0101 : 0x0201);
      append_array(l4, mac.bytes);
    }
    source_mac = mac;
    if (is_solicitation) {
      source = *peer;
      auto group = IpAddress::parse("ff02::1:ff00:0")->bytes();
      const auto low = target->bytes();
      std::copy(low.begin() + 13, low.end(), group.begin() + 13);
      destination = IpAddress::v6(group.data());
      destination_mac = {{0x33, 0x33, 0xff, low[13], low[14], low[15]}};
    } else {
      source = *target;
      destination = *peer;
    }
    if (const auto to = address_of(text.option("to"))) destination = *to;
  } else {
    const auto from = address_of(text.source), to = address_of(text.destination);
    if (!from || !to) return fail(fmt::format("'{}' > '{}' are no two addresses", text.source, text.destination));
    source = *from;
    destination = *to;
    const auto port_of = [](const std::string& port) { return port.empty() ? 0ul : std::stoul(port); };
    const std::uint64_t length = text.number("len", text.kind == "udp" || (text.kind == "icmp" && !text.about) ? 8 : 0);
    const auto payload = payload_of(text);
    const bool is_carrying = text.kind == "ipip" || text.kind == "gue";
    if (text.kind == "tcp") {
      protocol = 6;
      std::uint64_t flags = 0;
      for (std::size_t i = 0; i < tcp_flag_names.size(); ++i) flags |= text.flags.contains(tcp_flag_names[i]) << i;
      Bytes options(text.number("tcpopts", 0), std::byte{1});
      if (text.options.contains("mssat")) {  // mss=1460 mssat=1: at an odd place
        options.assign(text.number("mssat", 0), std::byte{1});
        append(options, 4, 0x02040000 | text.number("mss", 0));
        options.resize((options.size() + 3) / 4 * 4, std::byte{1});
      } else if (has_options(text)) {
        options = tcp_options_of(text);
      }
      append(l4, 2, port_of(text.source_port));
      append(l4, 2, port_of(text.destination_port));
      append(l4, 4, text.number("seq", 1000));
      append(l4, 4, text.number("ack", 0));
      append(l4, 1, text.number("off", 5 + options.size() / 4) << 4);
      append(l4, 1, flags);
      append(l4, 2, text.number("win", 64240));
      append(l4, 4, 0);
      l4.insert(l4.end(), options.begin(), options.end());
    } else if (text.kind == "udp") {
      protocol = 17;
      append(l4, 2, port_of(text.source_port));
      append(l4, 2, port_of(text.destination_port));
      append(l4, 2, text.number("udplen", 8 + (payload ? payload->size() : length)));
      append(l4, 2, 0);
    } else if (text.kind == "icmp") {
      protocol = source.is_v4() ? 1 : 58;
      const bool is_reply = text.flags.contains("reply");
      const std::uint64_t echo = source.is_v4() ? (is_reply ? 0 : 8) : (is_reply ? 129 : 128);
      append(l4, 1, text.number("type", echo));
      append(l4, 1, text.number("code", 0));
      append(l4, 2, 0);
      if (text.about && !source.is_v4()) {
        append(l4, 4, text.number("mtu", 0));
      } else {
        append(l4, 2, text.number("id", text.about ? 0 : 1));
        append(l4, 2, text.number("mtu", text.number("n", text.about ? 0 : 1)));
      }
      if (text.about) {
        PacketText quoted = *text.about;
        for (std::string* part : {&quoted.source_port, &quoted.destination_port}) {
          if (part->starts_with('$')) return fail(fmt::format("'{}' is not bound", *part));
        }
        const auto inner = build_frame(quoted, {}, {}, number);
        if (!inner) return inner;
        Bytes bytes(inner->begin() + ethernet_bytes, inner->end());
        bytes.resize(std::min<std::size_t>(bytes.size(), quoted.number("quote", bytes.size())));
        l4.insert(l4.end(), bytes.begin(), bytes.end());
      }
    } else if (is_carrying) {
      if (!text.about) return fail(fmt::format("{}: carrying what?", text.kind));
      const auto inner = build_frame(*text.about, {}, {}, number);
      if (!inner) return inner;
      const std::uint8_t carried = read(*inner, 12, 2) == 0x0800 ? 4 : 41;
      protocol = text.kind == "gue" ? 17 : carried;
      if (text.kind == "gue") {
        append(l4, 2, port_of(text.source_port));
        append(l4, 2, port_of(text.destination_port));
        append(l4, 2, 12 + inner->size() - ethernet_bytes);
        append(l4, 2, 0);
        append(l4, 4, text.number("guehead", std::uint64_t{carried} << 16));
      }
      l4.insert(l4.end(), inner->begin() + ethernet_bytes, inner->end());
    } else {
      protocol = static_cast<std::uint8_t>(text.number("proto", 255));
    }
    if (payload) l4.insert(l4.end(), payload->begin(), payload->end());
    for (std::uint64_t i = 0; i < length && !payload && !is_carrying; ++i) append(l4, 1, (number * 37 + i * 11 + 5) & 0xff);
  }

  if (const std::string piece = text.option("piece"); !piece.empty()) {
    // The whole packet first, its checksums right; then the bytes of the piece with a header that says where they belong.
    PacketText whole = text;
    whole.options.erase("piece");
    auto built = build_frame(whole, source_mac, destination_mac, static_cast<std::uint32_t>(text.number("fid", 1)));
    if (!built) return built;
    const auto at = layout_of(*built);
    if (!at) return fail("piece: of no packet");
    const std::size_t dash = piece.find('-');
    const std::size_t first = std::stoul(piece), total = at->end - at->l4;
    const std::size_t last = text.number("end", std::min<std::size_t>(total, std::stoul(piece.substr(dash + 1))));
    const bool has_more = text.number("more", last < total) != 0;
    Bytes payload(built->begin() + static_cast<long>(at->l4 + std::min(first, total)), built->begin() + static_cast<long>(at->l4 + std::min(last, total)));
    payload.resize(last - first);
    Bytes cut(built->begin(), built->begin() + static_cast<long>(at->l4));
    if (at->is_v4) {
      write(cut, at->l3 + 2, 2, at->l4 - at->l3 + payload.size());
      write(cut, at->l3 + 4, 2, text.number("fid", 1));
      write(cut, at->l3 + 6, 2, (has_more ? 0x2000u : 0u) | text.number("df", 0) << 14 | text.number("at", first) / 8);
      Layout header = *at;
      write(cut, at->l3 + 10, 2, ip_checksum(cut, header));
    } else {
      write(cut, at->l3 + 4, 2, 8 + payload.size());
      cut[at->l3 + 6] = std::byte{44};
      append(cut, 1, at->protocol);
      append(cut, 1, 0);
      append(cut, 2, text.number("at", first) | (has_more ? 1u : 0u));
      append(cut, 4, text.number("fid", 1));
    }
    cut.insert(cut.end(), payload.begin(), payload.end());
    cut.resize(std::max<std::size_t>(cut.size() + text.number("pad", 0), 0), std::byte{0});
    return cut;
  }

  Bytes extensions;
  std::uint8_t first_header = protocol;
  if (text.options.contains("mark") && !source.is_v4()) {  // of a health check: a destination option
    first_header = 60;
    append(extensions, 1, protocol);
    append(extensions, 3, 0x001e04);
    append(extensions, 4, text.number("mark", 0));
  }
  if (const std::string list = text.option("ext"); !list.empty()) {  // "0/60/43": headers of 8 bytes
    std::vector<std::uint8_t> headers;
    for (std::size_t at = 0; at < list.size();) {
      const std::size_t slash = std::min(list.find('/', at), list.size());
      headers.push_back(static_cast<std::uint8_t>(std::stoul(list.substr(at, slash - at))));
      at = slash + 1;
    }
    first_header = headers[0];
    for (std::size_t i = 0; i < headers.size(); ++i) {
      append(extensions, 1, i + 1 < headers.size() ? headers[i + 1] : protocol);
      append(extensions, 1, text.number("extlen", 0));
      append(extensions, 2, text.number("exthead", headers[i] == 43 ? 0 : 0x0104));
      append(extensions, 4, 0);
    }
  }

  append_array(frame, mac_of("dmac", destination_mac).bytes);
  append_array(frame, mac_of("smac", source_mac).bytes);
  if (text.options.contains("vlan")) {
    append(frame, 2, 0x8100);
    append(frame, 2, text.number("vlan", 0));
  }
  const bool is_v4 = source.is_v4();
  append(frame, 2, text.number("ether", is_v4 ? 0x0800 : 0x86dd));
  const std::size_t l3 = frame.size();
  if (is_v4) {
    const std::uint64_t option_bytes = text.number("opts", text.options.contains("mark") ? 8 : 0);
    append(frame, 1, text.number("version", 4) << 4 | text.number("ihl", 5 + option_bytes / 4));
    append(frame, 1, text.number("tos", 0));
    append(frame, 2, text.number("total", 20 + option_bytes + l4.size()));
    append(frame, 2, number & 0xffff);
    append(frame, 2, text.number("frag", 0x4000));
    append(frame, 1, ttl);
    append(frame, 1, protocol);
    append(frame, 2, 0);
    append_address(frame, source);
    append_address(frame, destination);
    if (text.options.contains("mark")) {
      append(frame, 4, 0x9e08534c);
      append(frame, 4, text.number("mark", 0));
    } else {
      for (std::uint64_t i = 0; i < option_bytes; ++i) append(frame, 1, 1);
    }
  } else {
    append(frame, 4, text.number("version", 6) << 28 | text.number("tos", 0) << 20 | (number & 0xfffff));
    append(frame, 2, text.number("total", extensions.size() + l4.size()));
    append(frame, 1, first_header);
    append(frame, 1, ttl);
    append_address(frame, source);
    append_address(frame, destination);
    frame.insert(frame.end(), extensions.begin(), extensions.end());
  }
  frame.insert(frame.end(), l4.begin(), l4.end());

  // Checksums are set on what the packet would be without the lies in its lengths.
  Layout at;
  at.is_v4 = is_v4;
  at.l3 = l3;
  at.end = frame.size();
  at.l4 = frame.size() - l4.size();
  at.protocol = protocol;
  if (is_v4) write(frame, l3 + 10, 2, ip_checksum(frame, at));
  if (l4.size() >= l4_header_bytes_min(protocol) && l4_header_bytes_min(protocol) > 0 && text.option("sum") != "none") {
    const std::size_t place = at.l4 + checksum_offset(protocol);
    write(frame, place, 2, l4_checksum(frame, at));
    if (text.option("badsum") == "l4") write(frame, place, 2, read(frame, place, 2) ^ 0x0100u);
  }
  if (text.option("badsum") == "ip") write(frame, l3 + 10, 2, read(frame, l3 + 10, 2) ^ 0x0100u);
  if (text.options.contains("cut")) frame.resize(std::min<std::size_t>(frame.size(), text.number("cut", 0)));
  frame.resize(frame.size() + text.number("pad", 0), std::byte{0});
  return frame;
}

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
    text.kind = at->protocol == 6 ? "tcp" : at->protocol == 17 ? "udp" : "proto";
    if (at->fragment_offset == 0 && text.kind != "proto" && l4_bytes >= 4) {
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
