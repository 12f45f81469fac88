#include "vm_device/net_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"

namespace vm_device {
namespace {

constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

bool fits(const std::string& path) {
  return !path.empty() && path.size() < sizeof(sockaddr_un::sun_path) &&
         path.find('\0') == std::string::npos;
}

// Needs:  fits(path).
sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

absl::Status refused(const std::string& path, int error) {
  const std::string text = absl::StrFormat("%s: %s", path, std::strerror(error));
  return error == EADDRINUSE ? absl::AlreadyExistsError(text) : absl::UnavailableError(text);
}

}  // namespace

absl::StatusOr<std::pair<std::unique_ptr<NetSocket>, std::unique_ptr<NetSocket>>>
NetSocket::pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return absl::ResourceExhaustedError(absl::StrFormat("socketpair: %s", std::strerror(errno)));
  }
  return std::pair{std::unique_ptr<NetSocket>(new NetSocket(ends[0], "", "")),
                   std::unique_ptr<NetSocket>(new NetSocket(ends[1], "", ""))};
}

absl::StatusOr<std::unique_ptr<NetSocket>> NetSocket::adopt(int descriptor) {
  int type = 0;
  socklen_t bytes = sizeof type;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0 || type != SOCK_DGRAM) {
    return absl::InvalidArgumentError(
        absl::StrFormat("descriptor %d is no datagram socket", descriptor));
  }
  return std::unique_ptr<NetSocket>(new NetSocket(descriptor, "", ""));
}

absl::StatusOr<std::unique_ptr<NetSocket>> NetSocket::bind(const std::string& path,
                                                           const std::string& peer) {
  for (const std::string& it : {path, peer}) {
    if (!fits(it)) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: a socket's path has 1 to %u bytes", it,
                                                        sizeof(sockaddr_un::sun_path) - 1));
    }
  }
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return refused(path, errno);
  const sockaddr_un address = address_of(path);
  if (::bind(descriptor, generic(address), sizeof address) != 0) {
    const int error = errno;
    ::close(descriptor);
    return refused(path, error);
  }
  return std::unique_ptr<NetSocket>(new NetSocket(descriptor, path, peer));
}

NetSocket::~NetSocket() {
  ::close(descriptor_);
  if (!path_.empty()) ::unlink(path_.c_str());
}

SendStatus NetSocket::send(std::span<const std::byte> frame) {
  ssize_t sent = 0;
  if (peer_.empty()) {
    sent = ::send(descriptor_, frame.data(), frame.size(), kFlags);
  } else {
    const sockaddr_un to = address_of(peer_);
    sent = ::sendto(descriptor_, frame.data(), frame.size(), kFlags, generic(to), sizeof to);
  }
  return sent < 0 ? SendStatus::kRefused : SendStatus::kSent;
}

// MSG_TRUNC: the length of the datagram, and not of what fitted.
std::optional<std::size_t> NetSocket::receive(std::span<std::byte> to) {
  const ssize_t got = ::recv(descriptor_, to.data(), to.size(), MSG_DONTWAIT | MSG_TRUNC);
  if (got < 0) return std::nullopt;
  return static_cast<std::size_t>(got);
}

}  // namespace vm_device
