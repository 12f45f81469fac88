// Messages of the vhost-user protocol on a socket, with the descriptors that come with them.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_CHANNEL_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_CHANNEL_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/vhost_user_protocol.h"

namespace vm_device::internal {

struct VhostUserMessage {
  std::uint32_t request = 0;
  std::uint32_t flags = 0;
  std::uint32_t bytes = 0;  // of the payload
  std::array<std::byte, kMaxVhostUserPayload> payload;
  std::vector<OwnedFd> fds;

  bool needs_reply() const { return (flags & kVhostUserNeedReply) != 0; }
  // In the host's byte order, as the protocol has it; 0 past the end of the payload.
  template <std::unsigned_integral T>
  T word(std::size_t offset) const {
    T value{};
    if (offset + sizeof value <= bytes) std::memcpy(&value, &payload[offset], sizeof value);
    return value;
  }
  OwnedFd take_fd() { return fds.empty() ? OwnedFd() : std::move(fds.front()); }
};

// Never waits for who writes: a message comes in as many pieces as he likes.
class VhostUserChannel {
 public:
  enum class Received : std::uint8_t {
    kMessage,
    kNothing,  // not all of a message is there yet
    kClosed,   // between two messages
    kBroken,   // what came is no message; see trouble()
    kFailed,   // the socket does not work; see trouble()
  };

  // Needs:  `socket`, a connected stream socket, outlives this object.
  explicit VhostUserChannel(int socket) : socket_(socket) {}

  Received receive(VhostUserMessage& message);
  const std::string& trouble() const { return trouble_; }

  // One that answers `to`. False: the other side does not take it.
  bool reply(const VhostUserMessage& to, std::span<const std::byte> payload, int fd = -1);
  bool send(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
            int fd = -1);
  // Without waiting for room.
  bool try_send(std::uint32_t request, std::span<const std::byte> payload);

 private:
  enum class Sent { kAll, kNoRoom, kFailed };

  Sent send_now(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
                int fd);
  Received end(Received how, std::string trouble);
  std::size_t wanted() const;
  Received read_some(std::size_t bytes);
  bool keep_descriptors(const void* control, std::size_t bytes);

  int socket_;
  std::array<std::byte, kVhostUserHeaderBytes + kMaxVhostUserPayload> bytes_;
  std::size_t have_ = 0;
  std::vector<OwnedFd> fds_;
  std::string trouble_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_CHANNEL_H_
