// The back end of the vhost-user protocol: a virtio device for a virtual machine in another
// process (QEMU, User-mode Linux, cloud-hypervisor), over the memory that it shares.
#ifndef VM_DEVICE_VHOST_USER_H_
#define VM_DEVICE_VHOST_USER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

namespace internal {
class VhostUserState;
}

struct VhostUserOptions {
  // Not offered though the device and the rings have them, e.g. kFeatureRingPacked.
  std::uint64_t withheld_features = 0;
  // Offers kFeatureAccessPlatform: the addresses of a driver that accepts it are those of an IOMMU,
  // and the front end translates them (IOTLB messages). Not for one that cannot: User-mode Linux
  // passes on what its driver accepts, and translates nothing.
  bool iommu = false;
  // After work rings are looked at again and again for so long before a kick is waited for:
  // shorter waits, for the time of a processor.
  std::chrono::microseconds poll{0};
  // Is told, by the thread in serve(), what the front end asked for and was refused: one line
  // each, without a newline.
  std::function<void(std::string_view)> refused = nullptr;
  // For what the device needs only while a ring runs, such as the lock of its image: `acquire` is
  // called before the first one starts, and has serve() end with its status unless that is OK;
  // `release` after the last one has stopped, before the front end hears of that. Where `release`
  // fails the front end does not: serve() ends with its status. By the thread in serve().
  std::function<absl::Status()> acquire = nullptr;
  std::function<absl::Status()> release = nullptr;
};

// Since create(), over all connections.
struct VhostUserStatistics {
  std::uint64_t connections = 0;
  std::uint64_t messages = 0;
  std::uint64_t refused = 0;        // messages that were answered with an error, or ignored
  std::uint64_t notifications = 0;  // calls of the device's notify()
  std::uint64_t signals = 0;        // of used buffers, to the driver
  std::uint64_t queue_errors = 0;   // rings that a bad request or address has stopped
  std::uint64_t iotlb_misses = 0;   // translations that the front end was asked for
  std::uint64_t iotlb_updates = 0;  // translations that it has given
  std::uint64_t iotlb_invalidations = 0;
};

// Serves one front end at a time. Its memory is mapped, and every byte of it reached by DMA on a
// MemoryManager: what is not there, has been cut off, or is the front end's to take away
// again, is an error of one request or ring, never of the process.
//
// Protocol features: MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD, RESET_DEVICE,
// CONFIGURE_MEM_SLOTS (509), STATUS. Rings are split or packed. A ring may have no call
// descriptor, and no kick one (it is polled then). A kick that came before the ring was enabled
// is not lost: each start looks for requests.
//
// A ring that is stopped (GET_VRING_BASE, disabling, the end of the connection, a change of
// memory) completes the requests that it has taken first, however long its storage takes. Pages
// that were written are in the log before that is answered, and within 10 ms of the write else.
//
// Behind an IOMMU a ring starts, and a request is taken, when all of its addresses have their
// translations; the thread does not wait for them. What the front end does not answer stays where
// it is, and so do the requests behind it in its ring. Before a page is given up the requests that
// use it are completed.
//
// A malformed message is answered with an error where an answer is asked for, and ignored
// elsewhere; one after which nothing can be understood ends the connection. A ring whose
// addresses or requests cannot be is signalled on its error descriptor and stopped until the
// front end stops or resets it; other rings go on.
//
// Threads:  serve() in one at a time, which is the device's; stop() and statistics() anywhere.
// Source:   the vhost-user protocol, https://qemu.readthedocs.io/en/latest/interop/vhost-user.html
class VhostUserBackend {
 public:
  // Errors:  kInvalidArgument    no device
  //          kResourceExhausted  the host gives no descriptor or memory
  static absl::StatusOr<std::unique_ptr<VhostUserBackend>> create(
      std::unique_ptr<VirtioDevice> device, VhostUserOptions options = {});
  VhostUserBackend(const VhostUserBackend&) = delete;
  VhostUserBackend& operator=(const VhostUserBackend&) = delete;
  ~VhostUserBackend();

  // Serves the front end at the other end of `socket`, a connected Unix stream socket that stays
  // the caller's, until it closes the connection. The device is reset then, and can be served
  // to the next one.
  //
  // Errors:  kCancelled        stop() was called
  //          kInvalidArgument  what the front end sent is no message of the protocol
  //          kUnavailable      the socket fails; errno in the message
  //          others            those of VhostUserOptions::acquire and release
  absl::Status serve(int socket);

  // Has serve(), this one or the next, complete what it has taken and return. Any thread, and
  // signal handlers. Where storage hangs, so does serve(), whose memory is being written to: a
  // process that is to end all the same ends, and what it has taken stays noted (INFLIGHT_SHMFD).
  void stop();

  VhostUserStatistics statistics() const;

 private:
  explicit VhostUserBackend(std::unique_ptr<internal::VhostUserState> state);

  std::unique_ptr<internal::VhostUserState> state_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_VHOST_USER_H_
