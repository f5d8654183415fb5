// RawPort: an interface as a source and sink of whole Ethernet frames (AF_PACKET), beside the kernel's own stack.
//
// Received frames stay in a ring that the kernel shares with us, and can be sent on from there without a copy.
// Threads: one. Ownership: the socket and the ring. Errors: die(), as everywhere in the tools; what the kernel refuses to
// send, or had no room for in the ring, is counted.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sluice::tools {

using Mac = std::array<std::uint8_t, 6>;
Mac parse_mac(const std::string& text);  // "02:00:00:00:00:01"

class RawPort {
 public:
  // `ring_frames`: room for frames that came and were not looked at yet; 0 for a port that only sends.
  RawPort(const std::string& interface, std::uint32_t ring_frames);
  ~RawPort();
  RawPort(const RawPort&) = delete;
  RawPort& operator=(const RawPort&) = delete;

  int fd() const { return fd_; }  // readable when a frame waits
  const Mac& mac() const { return mac_; }

  // Calls visit(frame) for at most `count_max` frames that wait; how many there were. They stay valid until release().
  template <class Visit>
  unsigned receive(unsigned count_max, Visit visit) {
    unsigned count = 0;
    for (; count < count_max; ++count) {
      const std::span<std::uint8_t> frame = next();
      if (frame.empty()) break;
      visit(frame);
    }
    return count;
  }
  void release();  // gives the ring back what receive() handed out

  // Not sent before the batch is full or flush() is called: the bytes must stay until then.
  void send(std::span<const std::uint8_t> frame);
  void flush();

  std::uint64_t sent() const { return sent_; }
  std::uint64_t send_failed() const { return send_failed_; }
  std::uint64_t ring_full();  // frames that came while the ring was full, so far

 private:
  static constexpr unsigned batch_max = 64;

  std::span<std::uint8_t> next();

  std::string interface_;
  int fd_ = -1;
  Mac mac_{};
  std::uint8_t* ring_ = nullptr;
  std::uint32_t ring_frames_ = 0, position_ = 0, released_ = 0;
  std::vector<mmsghdr> messages_;
  std::vector<iovec> pieces_;
  unsigned queued_ = 0;
  std::uint64_t sent_ = 0, send_failed_ = 0, ring_full_ = 0;
};

}  // namespace sluice::tools
