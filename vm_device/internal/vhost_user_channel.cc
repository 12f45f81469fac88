#include "vm_device/internal/vhost_user_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_device::internal {
namespace {

// Who does not read his answers for so long has gone.
constexpr int kSendMilliseconds = 1000;

std::uint32_t header_word(const std::byte* bytes, std::size_t index) {
  std::uint32_t value;
  std::memcpy(&value, bytes + 4 * index, sizeof value);
  return value;
}

bool wait_for_room(int socket) {
  pollfd wanted{.fd = socket, .events = POLLOUT, .revents = 0};
  return ::poll(&wanted, 1, kSendMilliseconds) == 1 && (wanted.revents & POLLOUT) != 0;
}

void attach(msghdr& message, std::span<std::byte> control, int fd) {
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
}

}  // namespace

VhostUserChannel::Received VhostUserChannel::end(Received how, std::string trouble) {
  trouble_ = std::move(trouble);
  return how;
}

// Of the header, then of what it announces.
std::size_t VhostUserChannel::wanted() const {
  if (have_ < kVhostUserHeaderBytes) return kVhostUserHeaderBytes - have_;
  return kVhostUserHeaderBytes + header_word(bytes_.data(), 2) - have_;
}

VhostUserChannel::Received VhostUserChannel::receive(VhostUserMessage& message) {
  while (have_ < kVhostUserHeaderBytes || wanted() != 0) {
    const Received got = read_some(wanted());
    if (got != Received::kMessage) return got;
    if (have_ != kVhostUserHeaderBytes) continue;
    if (const std::uint32_t bytes = header_word(bytes_.data(), 2); bytes > kMaxVhostUserPayload) {
      return end(Received::kBroken,
                 absl::StrFormat("request %u announces 0x%x bytes: at most 0x%x are possible",
                                 header_word(bytes_.data(), 0), bytes, kMaxVhostUserPayload));
    }
  }
  message.request = header_word(bytes_.data(), 0);
  message.flags = header_word(bytes_.data(), 1);
  message.bytes = header_word(bytes_.data(), 2);
  std::memcpy(message.payload.data(), &bytes_[kVhostUserHeaderBytes], message.bytes);
  message.fds = std::exchange(fds_, {});
  have_ = 0;
  return Received::kMessage;
}

VhostUserChannel::Received VhostUserChannel::read_some(std::size_t bytes) {
  iovec place{.iov_base = &bytes_[have_], .iov_len = bytes};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxVhostUserFds * sizeof(int))> control;
  msghdr header{};
  header.msg_iov = &place;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket_, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return Received::kNothing;
  if (got < 0 && errno != ECONNRESET) {
    return end(Received::kFailed, absl::StrFormat("recvmsg: %s", std::strerror(errno)));
  }
  if (got <= 0) {
    return have_ == 0 ? Received::kClosed
                      : end(Received::kBroken, "the connection ended inside a message");
  }
  have_ += static_cast<std::size_t>(got);
  bool kept = (header.msg_flags & MSG_CTRUNC) == 0;
  for (cmsghdr* it = CMSG_FIRSTHDR(&header); it != nullptr; it = CMSG_NXTHDR(&header, it)) {
    const bool has_fds = it->cmsg_level == SOL_SOCKET && it->cmsg_type == SCM_RIGHTS;
    if (has_fds && !keep_descriptors(CMSG_DATA(it), it->cmsg_len - CMSG_LEN(0))) kept = false;
  }
  if (!kept) {
    return end(Received::kBroken,
               absl::StrFormat("a message with more than %d descriptors, or no room for them",
                               kMaxVhostUserFds));
  }
  return Received::kMessage;
}

// All of them are ours to close.
bool VhostUserChannel::keep_descriptors(const void* control, std::size_t bytes) {
  const auto* const from = static_cast<const std::byte*>(control);
  for (std::size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
    int fd = -1;
    std::memcpy(&fd, from + at, sizeof fd);
    fds_.emplace_back(fd);
  }
  return fds_.size() <= kMaxVhostUserFds;
}

bool VhostUserChannel::reply(const VhostUserMessage& to, std::span<const std::byte> payload,
                             int fd) {
  return send(to.request, kVhostUserVersion | kVhostUserReply, payload, fd);
}

bool VhostUserChannel::send(std::uint32_t request, std::uint32_t flags,
                            std::span<const std::byte> payload, int fd) {
  Sent sent;
  do {
    sent = send_now(request, flags, payload, fd);
  } while (sent == Sent::kNoRoom && wait_for_room(socket_));
  return sent == Sent::kAll;
}

bool VhostUserChannel::try_send(std::uint32_t request, std::span<const std::byte> payload) {
  return send_now(request, kVhostUserVersion, payload, -1) == Sent::kAll;
}

VhostUserChannel::Sent VhostUserChannel::send_now(std::uint32_t request, std::uint32_t flags,
                                                  std::span<const std::byte> payload, int fd) {
  std::array<std::uint32_t, 3> header{request, flags, static_cast<std::uint32_t>(payload.size())};
  std::array<iovec, 2> parts{
      {{header.data(), sizeof header}, {const_cast<std::byte*>(payload.data()), payload.size()}}};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (fd >= 0) attach(message, control, fd);
  const std::size_t whole = sizeof header + payload.size();
  for (;;) {
    const ssize_t sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    // A few hundred bytes go as one piece or not at all.
    if (sent >= 0) return static_cast<std::size_t>(sent) == whole ? Sent::kAll : Sent::kFailed;
    if (errno != EINTR) return errno == EAGAIN ? Sent::kNoRoom : Sent::kFailed;
  }
}

}  // namespace vm_device::internal
