// What a virtio device is to its transport, and the transport to its device.
#ifndef VM_DEVICE_VIRTIO_DEVICE_H_
#define VM_DEVICE_VIRTIO_DEVICE_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "vm_device/dma.h"
#include "vm_device/state_bytes.h"
#include "vm_device/virtqueue.h"

namespace vm_device {

// What a device may use from activate() to reset(); wake() and wake_config() always.
class VirtioTransport {
 public:
  virtual DmaSpace& dma() = 0;
  // Needs:  index < queue_count() of the device.
  virtual Virtqueue& queue(std::uint16_t index) = 0;
  // The features that device and driver have agreed on; before activate(), from connect()
  // on, those that the driver has written so far.
  virtual std::uint64_t accepted_features() const = 0;

  // Interrupts the driver if it wants to know about used buffers of this queue.
  virtual void signal_used(std::uint16_t queue) = 0;
  // Says that the configuration space has changed.
  virtual void signal_config() = 0;
  // Has notify() called again at the driver's next access to the transport: for a device
  // that stops before its queue is empty, so that no guest keeps the host busy. Called
  // inside the device, as are all of the above.
  virtual void defer(std::uint16_t queue) = 0;

  // Of the host's side, from any thread at any time of the device's life: something has
  // come that the driver's requests in this queue wait for. notify() is called for it at
  // least once, by this thread now or by the one that is in the device when its call has
  // ended; not before activate(), nor while the queue is not ready.
  //
  // Needs:  the caller holds no lock that the device takes.
  // Cost:   never waits for the device.
  virtual void wake(std::uint16_t queue) = 0;
  // Of the host's side, too: something has changed that the configuration space shows.
  // take_config() is called for it, then the driver is told.
  virtual void wake_config() = 0;

 protected:
  ~VirtioTransport() = default;
};

// Threads:  the transport makes one call at a time. A queue error that a call leaves
//           behind is reported to the driver by the transport.
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  // Source:  virtio 1.2, section 5.
  virtual std::uint32_t device_id() const = 0;
  // Without those of the transport and the rings (virtio_features.h).
  virtual std::uint64_t device_features() const = 0;
  virtual std::uint16_t queue_count() const = 0;
  // Needs:  a power of two; the same at every call.
  virtual std::uint16_t max_queue_size(std::uint16_t queue) const = 0;

  // What lies beyond the configuration space reads as zero; writes there, and to fields
  // that the driver may not write, are ignored.
  virtual void read_config(std::uint64_t offset, std::span<std::byte> to) const = 0;
  virtual void write_config(std::uint64_t offset, std::span<const std::byte> from) = 0;
  // For wake_config(): what the host's side has changed may be shown from here on. The
  // driver sees the change and the next generation at once.
  virtual void take_config() {}

  // Once, before every other call but queue_count() and max_queue_size(), by a transport that
  // outlives the device.
  virtual void connect(VirtioTransport&) {}
  // The driver is ready (DRIVER_OK).
  virtual void activate(VirtioTransport& transport) = 0;
  // Back to the state before activate(), which may not have been called. The requests of
  // all queues are forgotten, as by reset_queue().
  virtual void reset() = 0;
  // The driver takes one queue back. Its requests are forgotten: when the call returns
  // nothing of them will reach guest memory any more, and none of them is pushed later,
  // though the driver may make the queue ready again.
  virtual void reset_queue(std::uint16_t) {}
  // Whether requests that were taken are given back without the driver doing anything more: a
  // transport that stops the queue waits for them then.
  virtual bool completes_alone(std::uint16_t /*queue*/) const { return true; }
  // The driver has put requests in the queue, which is enabled and without error.
  virtual void notify(std::uint16_t queue) = 0;

  // --- For VirtioMmio::save() and load().

  // Gives back every request that was taken, complete, and takes none. Once activated.
  virtual void drain() {}
  // What the device knows but for its queues and the features that were agreed on.
  //
  // Errors:  kUnimplemented, by default: such a device cannot be saved.
  virtual absl::Status save(StateWriter& to) const;
  // Goes on from there. Of a device as it was made, or reset, and activated if the saved one
  // was.
  //
  // Errors:  kDataLoss            the bytes are no such state
  //          kFailedPrecondition  they are another device's, e.g. one with other options
  //          The device is to be reset then.
  virtual absl::Status load(StateReader& from);
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_DEVICE_H_
