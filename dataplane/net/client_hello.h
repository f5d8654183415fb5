// parse_client_hello: what a TLS client wants, from the first bytes it sends.
//
// The bytes may be cut anywhere: over segments, over TLS records (RFC 8446 5.1: a handshake message may be fragmented),
// in the middle of a length. The answer for a prefix is either `need_more` or what it will be for every continuation, so
// a caller may ask again after each segment.
//
// Names: RFC 6066 3. Compared in lower case; one dot at the end is not part of the name. With encrypted hello (ECH) what
// counts is the outer name: it is all that the wire shows. Unknown extensions (GREASE, RFC 8701) are stepped over.
// Documented refusals: a name of more than 253 bytes, with bytes outside a-z 0-9 - _ . or empty; two names; an extension
// twice; a hello that ends beyond `hello_bytes_max`.
// Pure: reads the bytes, keeps nothing, allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

inline constexpr std::size_t hello_bytes_max = 16'384;  // record headers included
inline constexpr std::size_t server_name_bytes_max = 253;
inline constexpr std::size_t alpn_bytes_max = 255;

enum class HelloStatus : std::uint8_t {
  need_more,  // well formed so far
  complete,
  not_tls,    // not the beginning of a TLS handshake record
  malformed,  // see `fault`
  too_long,   // its own lengths say that it ends beyond hello_bytes_max
};

enum class HelloFault : std::uint8_t {
  none,
  record_type,         // another kind of record before the hello is whole
  record_version,      // of a later record; in the first one it is `not_tls`
  record_length,       // 0, or more than 2^14
  handshake_type,      // a handshake message that is no ClientHello
  hello_lengths,       // its vectors do not add up
  extension_repeated,
  server_name_list,    // its lengths do not add up, no name in it, or two
  server_name_bytes,   // too long, or no bytes of a host name
  alpn_list,
};
const char* name_of(HelloFault fault);

struct ClientHello {
  HelloStatus status = HelloStatus::need_more;
  HelloFault fault = HelloFault::none;
  std::uint16_t wire_bytes = 0;       // complete: where it ends
  std::uint8_t name_bytes = 0;        // 0: no server name
  std::uint8_t alpn_bytes = 0;
  std::array<char, server_name_bytes_max + 1> name_buffer;
  std::array<char, alpn_bytes_max> alpn_buffer;  // a length byte before each protocol, RFC 7301 3.1

  // Views into this object.
  std::string_view server_name() const { return {name_buffer.data(), name_bytes}; }
  bool offers(std::string_view protocol) const;  // "h2"; what did not fit into the buffer is not offered
  bool offers_one_of(std::string_view protocols) const;  // written as in alpn_buffer
};

void parse_client_hello(std::span<const std::byte> bytes, ClientHello& hello);

}  // namespace sluice
