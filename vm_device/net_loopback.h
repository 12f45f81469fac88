// A cable between two network devices of one process.
#ifndef VM_DEVICE_NET_LOOPBACK_H_
#define VM_DEVICE_NET_LOOPBACK_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "vm_device/net_backend.h"

namespace vm_device {

struct NetLoopbackOptions {
  std::size_t frames = 256;  // on their way, in each direction
  std::size_t frame_bytes = 2048;
};

// One end of it. What does not fit, or is longer than frame_bytes, is refused.
class NetLoopback final : public NetBackend {
 public:
  // Needs:  both options above 0.
  static std::pair<std::unique_ptr<NetLoopback>, std::unique_ptr<NetLoopback>> pair(
      NetLoopbackOptions options = {});
  ~NetLoopback() override;

  // `arrived` is called when there is a frame to receive at this end, on the thread that
  // sends it: a device's poll(), for one. It does not send.
  //
  // Needs:  set while nobody sends; what it uses outlives the other end.
  void on_arrival(std::function<void()> arrived);

  SendStatus send(std::span<const std::byte> frame) override;
  std::optional<std::size_t> receive(std::span<std::byte> to) override;

 private:
  struct Direction;
  NetLoopback(std::shared_ptr<Direction> out, std::shared_ptr<Direction> in);

  std::shared_ptr<Direction> out_;
  std::shared_ptr<Direction> in_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_NET_LOOPBACK_H_
