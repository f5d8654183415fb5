#include "tests/traces/packet_text.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <charconv>

#include "tests/traces/frame_layout.h"
#include "tests/traces/hello_text.h"

namespace sluice::trace {
namespace {

template <class Array>
void append_array(Bytes& bytes, const Array& array) {
  for (const auto byte : array) bytes.push_back(static_cast<std::byte>(byte));
}
void append_address(Bytes& bytes, IpAddress address) {
  const auto all = address.bytes();
  bytes.insert(bytes.end(), reinterpret_cast<const std::byte*>(all.data()) + (address.is_v4() ? 12 : 0),
               reinterpret_cast<const std::byte*>(all.data()) + 16);
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

}  // namespace sluice::trace
