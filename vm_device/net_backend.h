// What a network device is plugged into.
#ifndef VM_DEVICE_NET_BACKEND_H_
#define VM_DEVICE_NET_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace vm_device {

enum class SendStatus : std::uint8_t { kSent, kRefused };  // refused: the frame is lost

// Carries whole Ethernet frames, without their checksum. No call waits.
//
// Threads:  send() on one at a time, receive() on one at a time, which may be another.
class NetBackend {
 public:
  virtual ~NetBackend() = default;

  virtual SendStatus send(std::span<const std::byte> frame) = 0;
  // Takes the next frame, if there is one, into the first bytes of `to`. Returns its bytes:
  // where they are more than `to` has, the rest is lost.
  virtual std::optional<std::size_t> receive(std::span<std::byte> to) = 0;
  // Readable (as poll(2) says it) while there are frames to receive; -1 where there is none.
  virtual int descriptor() const { return -1; }
};

}  // namespace vm_device

#endif  // VM_DEVICE_NET_BACKEND_H_
