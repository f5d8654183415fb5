#include "dataplane/net/tcp_options.h"

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

unsigned at(std::span<const std::byte> bytes, std::size_t i) { return static_cast<unsigned>(bytes[i]); }

std::uint32_t word_at(std::span<const std::byte> bytes, std::size_t i) {
  Be32 word;
  std::memcpy(&word, bytes.data() + i, sizeof word);
  return word.host();
}

// Calls visit(kind, where the kind byte lies, length of the option) for each option that is whole.
template <class Visit>
void walk(std::span<const std::byte> options, Visit visit) {
  for (std::size_t i = 0; i < options.size();) {
    const unsigned kind = at(options, i);
    if (kind == tcp_option::end) return;
    if (kind == tcp_option::no_operation) {
      ++i;
      continue;
    }
    if (i + 2 > options.size()) return;
    const std::size_t length = at(options, i + 1);
    if (length < 2 || i + length > options.size()) return;
    visit(kind, i, length);
    i += length;
  }
}

class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}
  void bytes(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) out_[count_++] = static_cast<std::byte>(value);
  }
  void word(std::uint32_t value) { bytes({value >> 24, value >> 16 & 0xff, value >> 8 & 0xff, value & 0xff}); }
  std::size_t count() const { return count_; }

 private:
  std::span<std::byte> out_;
  std::size_t count_ = 0;
};

}  // namespace

TcpOffer read_offer(std::span<const std::byte> options) {
  TcpOffer offer;
  walk(options, [&](unsigned kind, std::size_t i, std::size_t length) {
    if (kind == tcp_option::mss && length == 4) {
      offer.mss = static_cast<std::uint16_t>(at(options, i + 2) << 8 | at(options, i + 3));
    } else if (kind == tcp_option::window_scale && length == 3) {
      offer.has_window_scale = true;
      offer.window_scale = static_cast<std::uint8_t>(std::min<unsigned>(at(options, i + 2), window_scale_max));
    } else if (kind == tcp_option::sack_permitted && length == 2) {
      offer.has_sack = true;
    } else if (kind == tcp_option::timestamps && length == 10) {
      offer.has_timestamps = true;
      offer.timestamp = word_at(options, i + 2);
      offer.timestamp_echo = word_at(options, i + 6);
    }
  });
  return offer;
}

std::size_t write_offer(const TcpOffer& offer, std::span<std::byte, tcp_options_bytes_max> options) {
  Writer out(options);
  if (offer.mss != 0) out.bytes({tcp_option::mss, 4, offer.mss / 256u, offer.mss % 256u});
  if (offer.has_sack) {
    if (!offer.has_timestamps) out.bytes({tcp_option::no_operation, tcp_option::no_operation});
    out.bytes({tcp_option::sack_permitted, 2});
  } else if (offer.has_timestamps) {
    out.bytes({tcp_option::no_operation, tcp_option::no_operation});
  }
  if (offer.has_timestamps) {
    out.bytes({tcp_option::timestamps, 10});
    out.word(offer.timestamp);
    out.word(offer.timestamp_echo);
  }
  if (offer.has_window_scale) {
    out.bytes({tcp_option::no_operation, tcp_option::window_scale, 3, offer.window_scale});
  }
  return out.count();
}

void write_timestamps(std::span<std::byte, timestamps_bytes> options, std::uint32_t value, std::uint32_t echo) {
  Writer out(options);
  out.bytes({tcp_option::no_operation, tcp_option::no_operation, tcp_option::timestamps, 10});
  out.word(value);
  out.word(echo);
}

TcpOptionPlaces find_options(std::span<const std::byte> options) {
  TcpOptionPlaces places;
  walk(options, [&](unsigned kind, std::size_t i, std::size_t length) {
    if (kind == tcp_option::timestamps && length == 10) {
      places.timestamps = static_cast<std::uint8_t>(i);
    } else if (kind == tcp_option::sack && length >= 10 && length % 8 == 2) {
      places.sack = static_cast<std::uint8_t>(i);
      places.sack_block_count = static_cast<std::uint8_t>(length / 8);
    }
  });
  return places;
}

}  // namespace sluice
