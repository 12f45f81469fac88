#include "bench/vm_device/vhost/link.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "bench/harness/process.h"

namespace vm_bench {

using namespace vm_device::internal;

VhostLink::VhostLink(const BackEnd& back_end)
    : name_(back_end.name()), socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  back_end.socket().copy(address.sun_path, sizeof address.sun_path - 1);
  if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up_on("cannot be reached");
  }
}

void VhostLink::give_up_on(const std::string& what) const { give_up(name_ + " " + what); }

void VhostLink::tell(Request request, std::initializer_list<std::uint64_t> payload,
                     int descriptor) {
  send(request, acknowledges_ ? kVhostUserNeedReply : 0, payload, descriptor);
  if (acknowledges_ && receive(request) != 0) {
    give_up_on(fmt::format("refuses request {}", static_cast<unsigned>(request)));
  }
}

std::uint64_t VhostLink::ask(Request request, std::initializer_list<std::uint64_t> payload,
                             int descriptor) {
  send(request, 0, payload, descriptor);
  return receive(request);
}

void VhostLink::send(Request request, std::uint32_t flags,
                     std::initializer_list<std::uint64_t> payload, int descriptor) {
  const auto bytes = payload.size() * sizeof(std::uint64_t);
  std::array<std::uint32_t, 3> header{static_cast<std::uint32_t>(request),
                                      flags | kVhostUserVersion, static_cast<std::uint32_t>(bytes)};
  std::vector<std::uint64_t> words(payload);
  std::array<iovec, 2> parts{{{header.data(), sizeof header}, {words.data(), bytes}}};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (descriptor >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const right = CMSG_FIRSTHDR(&message);
    right->cmsg_level = SOL_SOCKET;
    right->cmsg_type = SCM_RIGHTS;
    right->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(right), &descriptor, sizeof(int));
  }
  if (sendmsg(socket_.get(), &message, MSG_NOSIGNAL) !=
      static_cast<ssize_t>(sizeof header + bytes)) {
    give_up_on(fmt::format("takes no message: {}", std::strerror(errno)));
  }
}

std::uint64_t VhostLink::receive(Request request) {
  std::array<std::uint32_t, 3> header{};
  std::array<std::uint64_t, kMaxVhostUserPayload / sizeof(std::uint64_t)> words{};
  const auto heard = recv(socket_.get(), header.data(), sizeof header, MSG_WAITALL);
  const std::size_t bytes = header[2];
  const bool fits = bytes >= sizeof words[0] && bytes <= sizeof words;
  if (heard != ssize_t{sizeof header} || header[0] != static_cast<std::uint32_t>(request) ||
      !fits ||
      recv(socket_.get(), words.data(), bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) {
    give_up_on(fmt::format("does not answer request {}", static_cast<unsigned>(request)));
  }
  return words[bytes / sizeof words[0] - 1];
}

}  // namespace vm_bench
