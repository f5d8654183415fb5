#include "dataplane/net/client_hello.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::size_t record_header_bytes = 5;
constexpr std::size_t handshake_header_bytes = 4;
constexpr unsigned content_handshake = 22;
constexpr unsigned client_hello_type = 1;
constexpr unsigned extension_server_name = 0, extension_alpn = 16;
constexpr std::size_t extensions_known_max = 64;  // more are not looked at for repetition; browsers send about 20

// Reads the handshake stream, stepping over record headers on the way. After the first failure all reads give 0.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, ClientHello& hello) : bytes_(bytes), hello_(hello) {}

  bool is_good() const { return is_good_; }
  std::size_t position() const { return position_; }  // in the wire bytes
  std::size_t taken() const { return taken_; }        // bytes of the handshake stream

  unsigned byte() {
    if (!is_good_ || (left_in_record_ == 0 && !open_record())) return 0;
    if (position_ >= bytes_.size()) return stop(HelloStatus::need_more, HelloFault::none);
    --left_in_record_;
    ++taken_;
    return static_cast<unsigned>(bytes_[position_++]);
  }
  unsigned number(unsigned byte_count) {
    unsigned value = 0;
    for (; byte_count > 0; --byte_count) value = value << 8 | byte();
    return is_good_ ? value : 0;
  }
  void skip(std::size_t byte_count) {
    while (byte_count > 0 && is_good_) {
      if (left_in_record_ == 0 && !open_record()) return;
      const std::size_t here = std::min({byte_count, std::size_t{left_in_record_}, bytes_.size() - position_});
      if (here == 0) {
        stop(HelloStatus::need_more, HelloFault::none);
        return;
      }
      position_ += here;
      taken_ += here;
      left_in_record_ -= static_cast<unsigned>(here);
      byte_count -= here;
    }
  }
  unsigned stop(HelloStatus status, HelloFault fault) {
    if (is_good_) {
      hello_.status = status;
      hello_.fault = fault;
    }
    is_good_ = false;
    return 0;
  }
  unsigned malformed(HelloFault fault) { return stop(HelloStatus::malformed, fault); }

 private:
  // Byte by byte, so that a wrong first byte is told without waiting for the others.
  bool open_record() {
    const bool is_first = position_ == 0;
    const auto at = [&](std::size_t i) { return static_cast<unsigned>(bytes_[position_ + i]); };
    const std::size_t here = bytes_.size() - position_;
    if (here > 0 && at(0) != content_handshake) return refuse(is_first, HelloFault::record_type);
    if (here > 1 && at(1) != 3) return refuse(is_first, HelloFault::record_version);
    if (here < record_header_bytes) return stop(HelloStatus::need_more, HelloFault::none) != 0;
    const unsigned length = at(3) << 8 | at(4);
    if (length == 0 || length > 1u << 14) return malformed(HelloFault::record_length) != 0;
    position_ += record_header_bytes;
    left_in_record_ = length;
    return true;
  }
  bool refuse(bool is_first, HelloFault fault) {
    if (is_first) {
      stop(HelloStatus::not_tls, HelloFault::none);
    } else {
      malformed(fault);
    }
    return false;
  }

  std::span<const std::byte> bytes_;
  ClientHello& hello_;
  std::size_t position_ = 0;
  std::size_t taken_ = 0;
  unsigned left_in_record_ = 0;
  bool is_good_ = true;
};

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

void read_server_name(Reader& in, std::size_t bytes, ClientHello& hello) {
  if (bytes < 5) return void(in.malformed(HelloFault::server_name_list));
  const unsigned list_bytes = in.number(2), type = in.byte(), name_bytes = in.number(2);
  if (!in.is_good()) return;
  if (list_bytes + 2 != bytes || type != 0 || name_bytes + 3 != list_bytes) {  // a second name cannot fit
    return void(in.malformed(HelloFault::server_name_list));
  }
  if (name_bytes == 0 || name_bytes > server_name_bytes_max + 1) return void(in.malformed(HelloFault::server_name_bytes));
  for (unsigned i = 0; i < name_bytes; ++i) {
    const char c = lower(static_cast<char>(in.byte()));
    if (!in.is_good()) return;
    if (!is_name_byte(c)) return void(in.malformed(HelloFault::server_name_bytes));
    hello.name_buffer[i] = c;
  }
  const std::size_t kept = hello.name_buffer[name_bytes - 1] == '.' ? name_bytes - 1 : name_bytes;
  if (kept == 0 || kept > server_name_bytes_max) return void(in.malformed(HelloFault::server_name_bytes));
  hello.name_bytes = static_cast<std::uint8_t>(kept);
}

void read_alpn(Reader& in, std::size_t bytes, ClientHello& hello) {
  if (bytes < 4) return void(in.malformed(HelloFault::alpn_list));
  std::size_t left = in.number(2);
  if (!in.is_good()) return;
  if (left + 2 != bytes) return void(in.malformed(HelloFault::alpn_list));
  while (left > 0 && in.is_good()) {
    const unsigned length = in.byte();
    if (!in.is_good()) return;
    if (length == 0 || length + 1 > left) return void(in.malformed(HelloFault::alpn_list));
    const bool fits = hello.alpn_bytes + length + 1 <= alpn_bytes_max;
    if (fits) hello.alpn_buffer[hello.alpn_bytes] = static_cast<char>(length);
    for (unsigned i = 1; i <= length; ++i) {
      const unsigned c = in.byte();
      if (fits) hello.alpn_buffer[hello.alpn_bytes + i] = static_cast<char>(c);
    }
    if (fits) hello.alpn_bytes = static_cast<std::uint8_t>(hello.alpn_bytes + length + 1);
    left -= length + 1;
  }
}

void read_extensions(Reader& in, std::size_t bytes, ClientHello& hello) {
  std::array<std::uint16_t, extensions_known_max> known;
  std::size_t known_count = 0;
  while (bytes > 0 && in.is_good()) {
    if (bytes < 4) return void(in.malformed(HelloFault::hello_lengths));
    const auto type = static_cast<std::uint16_t>(in.number(2));
    const std::size_t length = in.number(2);
    if (!in.is_good()) return;
    if (length + 4 > bytes) return void(in.malformed(HelloFault::hello_lengths));
    if (std::find(known.begin(), known.begin() + known_count, type) != known.begin() + known_count) {
      return void(in.malformed(HelloFault::extension_repeated));
    }
    if (known_count < known.size()) known[known_count++] = type;
    if (type == extension_server_name) {
      read_server_name(in, length, hello);
    } else if (type == extension_alpn) {
      read_alpn(in, length, hello);
    } else {
      in.skip(length);
    }
    bytes -= length + 4;
  }
}

void read_hello(Reader& in, ClientHello& hello) {
  const unsigned type = in.byte();
  if (in.is_good() && type != client_hello_type) return void(in.malformed(HelloFault::handshake_type));
  const std::size_t bytes = in.number(3);
  if (!in.is_good()) return;
  if (bytes + handshake_header_bytes + record_header_bytes > hello_bytes_max) return void(in.stop(HelloStatus::too_long, HelloFault::none));
  // What is left of the hello behind `taken()`: the vectors must not reach beyond it.
  const auto left = [&] { return bytes + handshake_header_bytes - in.taken(); };
  const auto vector = [&](unsigned length_bytes, std::size_t least, std::size_t most) -> std::size_t {
    if (in.is_good() && left() < length_bytes) return in.malformed(HelloFault::hello_lengths);
    const std::size_t length = in.number(length_bytes);
    if (in.is_good() && (length > left() || length < least || length > most)) in.malformed(HelloFault::hello_lengths);
    return in.is_good() ? length : 0;
  };
  if (left() < 2 + 32) return void(in.malformed(HelloFault::hello_lengths));
  in.skip(2 + 32);  // legacy_version, random
  in.skip(vector(1, 0, 32));  // legacy_session_id
  const std::size_t suites = vector(2, 2, 0xfffe);
  if (in.is_good() && suites % 2 != 0) in.malformed(HelloFault::hello_lengths);
  in.skip(suites);
  in.skip(vector(1, 1, 255));  // legacy_compression_methods
  if (in.is_good() && left() > 0) {  // TLS 1.2 may end here
    const std::size_t extensions = vector(2, 0, 0xffff);
    if (in.is_good() && extensions != left()) in.malformed(HelloFault::hello_lengths);
    read_extensions(in, extensions, hello);
  }
}

// Whether `is_it` says so of one protocol of a list as RFC 7301 3.1 writes it.
template <class IsIt>
bool any_protocol(std::string_view list, IsIt is_it) {
  while (!list.empty()) {
    const std::size_t length = static_cast<unsigned char>(list[0]);
    if (is_it(list.substr(1, length))) return true;
    list.remove_prefix(std::min(list.size(), length + 1));
  }
  return false;
}

}  // namespace

const char* name_of(HelloFault fault) {
  switch (fault) {
    case HelloFault::none: return "none";
    case HelloFault::record_type: return "record_type";
    case HelloFault::record_version: return "record_version";
    case HelloFault::record_length: return "record_length";
    case HelloFault::handshake_type: return "handshake_type";
    case HelloFault::hello_lengths: return "hello_lengths";
    case HelloFault::extension_repeated: return "extension_repeated";
    case HelloFault::server_name_list: return "server_name_list";
    case HelloFault::server_name_bytes: return "server_name_bytes";
    case HelloFault::alpn_list: return "alpn_list";
  }
  return "none";
}

bool ClientHello::offers(std::string_view protocol) const {
  return any_protocol({alpn_buffer.data(), alpn_bytes}, [&](std::string_view offered) { return offered == protocol; });
}

bool ClientHello::offers_one_of(std::string_view protocols) const {
  return any_protocol(protocols, [&](std::string_view protocol) { return offers(protocol); });
}

void parse_client_hello(std::span<const std::byte> bytes, ClientHello& hello) {
  hello.status = HelloStatus::complete;
  hello.fault = HelloFault::none;
  hello.wire_bytes = 0;
  hello.name_bytes = 0;
  hello.alpn_bytes = 0;
  Reader in(bytes, hello);
  read_hello(in, hello);
  if (in.is_good() && in.position() <= hello_bytes_max) {
    hello.wire_bytes = static_cast<std::uint16_t>(in.position());
    return;
  }
  // Tiny records can make a hello of allowed size too long on the wire.
  const bool is_over = in.is_good() || (hello.status == HelloStatus::need_more && bytes.size() >= hello_bytes_max);
  if (is_over) hello.status = HelloStatus::too_long;
  if (hello.status != HelloStatus::complete) hello.name_bytes = hello.alpn_bytes = 0;
}

}  // namespace sluice
