// The client's end of a control socket, byte by byte: for tests that send what call() never would.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "dataplane/base/control_channel.h"

namespace sluice::test {

inline sockaddr_un control_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// Empty when nobody listens.
inline Fd connect_control(const std::string& path, int flags = 0) {
  const sockaddr_un address = control_address(path);
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? std::move(fd) : Fd();
}

inline std::string framed(std::string_view body) {
  const auto length = static_cast<std::uint32_t>(body.size());
  std::string frame = "SLU1";
  frame.append(reinterpret_cast<const char*>(&length), sizeof length);
  return frame.append(body);
}

// As send(), with a descriptor beside the bytes; without one when `attached` is -1.
inline ssize_t send_with(int fd, std::string_view bytes, int attached) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (attached >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &attached, sizeof attached);
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

}  // namespace sluice::test
