// A network of datagram sockets: one datagram is one frame.
#ifndef VM_DEVICE_NET_SOCKET_H_
#define VM_DEVICE_NET_SOCKET_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "vm_device/net_backend.h"

namespace vm_device {

// A frame that the socket has no room for, or nobody listens for, is refused.
class NetSocket final : public NetBackend {
 public:
  // Two ends that are connected; either can be passed to another process.
  //
  // Errors:  kResourceExhausted  the host refused; errno in the text
  static absl::StatusOr<std::pair<std::unique_ptr<NetSocket>, std::unique_ptr<NetSocket>>> pair();
  // Takes over a connected datagram socket; it is closed in the end. On an error it stays
  // the caller's.
  //
  // Errors:  kInvalidArgument  no datagram socket
  static absl::StatusOr<std::unique_ptr<NetSocket>> adopt(int descriptor);
  // Receives at the socket `path`, which it makes and in the end removes, and sends to
  // `peer`, which may come later or again. As QEMU's -netdev dgram.
  //
  // Errors:  each message is "<path>: <reason>".
  //          kInvalidArgument   empty, or too long for a socket
  //          kAlreadyExists     there is something at `path`
  //          kUnavailable       anything else; errno in the text
  static absl::StatusOr<std::unique_ptr<NetSocket>> bind(const std::string& path,
                                                         const std::string& peer);
  NetSocket(const NetSocket&) = delete;
  NetSocket& operator=(const NetSocket&) = delete;
  ~NetSocket() override;

  SendStatus send(std::span<const std::byte> frame) override;
  std::optional<std::size_t> receive(std::span<std::byte> to) override;
  int descriptor() const override { return descriptor_; }

 private:
  NetSocket(int descriptor, std::string path, std::string peer)
      : descriptor_(descriptor), path_(std::move(path)), peer_(std::move(peer)) {}

  int descriptor_;
  std::string path_;  // empty: nothing to remove
  std::string peer_;  // empty: connected
};

}  // namespace vm_device

#endif  // VM_DEVICE_NET_SOCKET_H_
