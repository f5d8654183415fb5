#include "dataplane/net/proxy_protocol.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "dataplane/base/crc32c.h"
#include "dataplane/net/headers.h"

namespace sluice {
namespace {

constexpr std::string_view line_start = "PROXY ";
constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::byte version_2_local{0x20}, version_2_proxy{0x21};
constexpr std::byte tcp_over_v4{0x11}, tcp_over_v6{0x21};
constexpr std::byte tlv_crc32c{3};
constexpr std::size_t fixed_bytes = 16;  // of version 2: as far as its length

std::size_t write_version_1(const FlowKey& key, std::span<std::byte> out) {
  const auto end = fmt::format_to_n(reinterpret_cast<char*>(out.data()), out.size(), "PROXY TCP{} {} {} {} {}\r\n",
                                    key.source.is_v4() ? 4 : 6, key.source.text(), key.destination.text(),
                                    key.source_port.host(), key.destination_port.host());
  return end.size;
}

std::size_t write_version_2(const FlowKey& key, std::span<std::byte> out) {
  std::size_t count = 0;
  const auto put = [&](const void* bytes, std::size_t length) {
    std::memcpy(out.data() + count, bytes, length);
    count += length;
  };
  const bool is_v4 = key.source.is_v4();
  const Be16 length = be16(is_v4 ? 12 : 36);
  put(signature.data(), signature.size());
  put(&version_2_proxy, 1);
  put(is_v4 ? &tcp_over_v4 : &tcp_over_v6, 1);
  put(&length, sizeof length);
  for (const IpAddress& address : {key.source, key.destination}) {
    const auto bytes = address.bytes();
    put(bytes.data() + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
  }
  put(&key.source_port, sizeof key.source_port);
  put(&key.destination_port, sizeof key.destination_port);
  return count;
}

bool begins_like(std::string_view text, std::string_view start) {
  const std::size_t common = std::min(text.size(), start.size());
  return text.substr(0, common) == start.substr(0, common);
}

ProxyHeader answer(ProxyHeaderStatus status, std::size_t bytes = 0) { return {status, static_cast<std::uint16_t>(bytes), {}}; }

ProxyHeader named(const FlowKey& from_client, std::size_t bytes) {
  if (from_client.source.is_v4() != from_client.destination.is_v4()) return answer(ProxyHeaderStatus::malformed);
  return {ProxyHeaderStatus::complete, static_cast<std::uint16_t>(bytes), from_client};
}

std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

std::optional<IpAddress> read_address(std::string_view text, std::string_view protocol_word) {
  const bool is_v6_text = text.find(':') != std::string_view::npos;
  return is_v6_text == (protocol_word == "TCP6") ? IpAddress::parse(text) : std::nullopt;
}

std::optional<Be16> read_port(std::string_view digits) {
  std::uint16_t port = 0;
  const char* last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, port);
  const bool has_leading_zero = digits.size() > 1 && digits.front() == '0';
  if (error != std::errc() || end != last || has_leading_zero) return std::nullopt;
  return be16(port);
}

// "PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n": single spaces, nothing before or behind.
ProxyHeader read_version_1(std::string_view text) {
  const std::size_t end = text.substr(0, proxy_header_bytes_max).find("\r\n");
  if (end == std::string_view::npos) {
    return answer(text.size() < proxy_header_bytes_max ? ProxyHeaderStatus::need_more : ProxyHeaderStatus::too_long);
  }
  const std::size_t bytes = end + 2;
  std::string_view rest = text.substr(line_start.size(), end - line_start.size());
  const std::string_view protocol_word = take_word(rest);
  if (protocol_word == "UNKNOWN") return answer(ProxyHeaderStatus::complete, bytes);
  const auto source = read_address(take_word(rest), protocol_word), destination = read_address(take_word(rest), protocol_word);
  const auto source_port = read_port(take_word(rest)), destination_port = read_port(rest);
  const bool is_tcp = protocol_word == "TCP4" || protocol_word == "TCP6";
  if (!is_tcp || !source || !destination || !source_port || !destination_port) return answer(ProxyHeaderStatus::malformed);
  return named({*source, *destination, *source_port, *destination_port, protocol::tcp}, bytes);
}

Be16 be16_at(std::span<const std::byte> bytes, std::size_t at) {
  Be16 word;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

// Of the whole header, its own four bytes taken as zero.
bool is_checksum_right(std::span<const std::byte> header, std::size_t at) {
  constexpr std::byte zeros[4] = {};
  Be32 said;
  std::memcpy(&said, header.data() + at, sizeof said);
  return said.host() == crc32c(header.subspan(at + sizeof said), crc32c(zeros, crc32c(header.first(at))));
}

// Each a type, two bytes of length, and so many more. `complete`: there is nothing against them.
ProxyHeaderStatus check_tlvs(std::span<const std::byte> header, std::size_t at) {
  constexpr std::size_t head_bytes = 3;
  auto status = ProxyHeaderStatus::complete;
  while (at < header.size()) {
    if (header.size() - at < head_bytes) return ProxyHeaderStatus::malformed;
    const std::size_t value_at = at + head_bytes, value_bytes = be16_at(header, at + 1).host();
    if (value_bytes > header.size() - value_at) return ProxyHeaderStatus::malformed;
    if (header[at] == tlv_crc32c) {
      if (value_bytes != sizeof(Be32)) return ProxyHeaderStatus::malformed;
      if (!is_checksum_right(header, value_at)) status = ProxyHeaderStatus::checksum_wrong;
    }
    at = value_at + value_bytes;
  }
  return status;
}

// Behind the length: two addresses, their ports, TLVs.
ProxyHeader read_tcp_header(std::span<const std::byte> header, std::size_t address_bytes) {
  const auto block = header.subspan(fixed_bytes);
  const std::size_t ports_at = 2 * address_bytes, tlvs_at = ports_at + 4;
  const auto address_at = [&](std::size_t at) {
    if (address_bytes == 16) return IpAddress::v6(block.data() + at);
    Be32 four;
    std::memcpy(&four, block.data() + at, sizeof four);
    return IpAddress::v4(four);
  };
  const ProxyHeaderStatus status = check_tlvs(header, fixed_bytes + tlvs_at);
  if (status != ProxyHeaderStatus::complete) return answer(status);
  return named({address_at(0), address_at(address_bytes), be16_at(block, ports_at), be16_at(block, ports_at + 2), protocol::tcp},
               header.size());
}

ProxyHeader read_version_2(std::span<const std::byte> bytes) {
  if (bytes.size() <= signature.size()) return answer(ProxyHeaderStatus::need_more);
  const std::byte command = bytes[12];
  if (command != version_2_local && command != version_2_proxy) return answer(ProxyHeaderStatus::malformed);
  if (bytes.size() < 14) return answer(ProxyHeaderStatus::need_more);
  const std::byte family = command == version_2_local ? std::byte{0} : bytes[13];
  if ((family >> 4) > std::byte{3} || (family & std::byte{15}) > std::byte{2}) return answer(ProxyHeaderStatus::malformed);
  if (bytes.size() < fixed_bytes) return answer(ProxyHeaderStatus::need_more);
  const std::size_t block_bytes = be16_at(bytes, 14).host();
  if (fixed_bytes + block_bytes > proxy_header_read_max) return answer(ProxyHeaderStatus::too_long);
  const std::size_t address_bytes = family == tcp_over_v4 ? 4 : family == tcp_over_v6 ? 16 : 0;
  if (address_bytes != 0 && block_bytes < 2 * address_bytes + 4) return answer(ProxyHeaderStatus::malformed);
  if (bytes.size() < fixed_bytes + block_bytes) return answer(ProxyHeaderStatus::need_more);
  if (address_bytes == 0) return answer(ProxyHeaderStatus::complete, fixed_bytes + block_bytes);
  return read_tcp_header(bytes.first(fixed_bytes + block_bytes), address_bytes);
}

}  // namespace

std::size_t write_proxy_header(ProxyProtocol version, const FlowKey& from_client,
                               std::span<std::byte, proxy_header_bytes_max> out) {
  switch (version) {
    case ProxyProtocol::none: break;
    case ProxyProtocol::version_1: return write_version_1(from_client, out);
    case ProxyProtocol::version_2: return write_version_2(from_client, out);
  }
  return 0;
}

ProxyHeader read_proxy_header(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (begins_like(text, line_start)) return read_version_1(text);
  if (begins_like(text, signature)) return read_version_2(bytes);
  return answer(ProxyHeaderStatus::not_proxy);
}

}  // namespace sluice
