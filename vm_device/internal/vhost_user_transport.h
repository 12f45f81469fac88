// The virtio transport of a vhost-user back end: a device, its queues, and the descriptors by
// which they call.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_TRANSPORT_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_TRANSPORT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "vm_device/dma.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_device.h"
#include "vm_device/virtqueue.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

struct VhostUserCounts {
  std::atomic<std::uint64_t> notifications{0};  // calls of the device's notify()
  std::atomic<std::uint64_t> signals{0};        // of used buffers
  std::atomic<std::uint64_t> queue_errors{0};
};

// Threads:  one, but for wake() and wake_config().
class VhostUserTransport final : private VirtioTransport {
 public:
  // Needs:  `device` is not null; the reader and `counts` outlive this object.
  VhostUserTransport(std::unique_ptr<VirtioDevice> device, vm_mem::MemoryReader& reader,
                     VhostUserCounts& counts);
  ~VhostUserTransport();
  VhostUserTransport(const VhostUserTransport&) = delete;
  VhostUserTransport& operator=(const VhostUserTransport&) = delete;

  // Errors:  kResourceExhausted: the host gives no descriptor. Before all else.
  absl::Status open();

  VirtioDevice& device() { return *device_; }
  std::size_t queue_count() const { return queues_.size(); }

  // Those that the driver has accepted. A device that was active with others is reset.
  //
  // Needs:  no queue is running, or they are the same. With kFeatureAccessPlatform the IOMMU by
  //         which bus addresses are translated, which outlives that; else null.
  void accept(std::uint64_t features, Iommu* iommu);

  // Null descriptors are none. A queue may get others while it runs: what was completed before is
  // signalled to the new one.
  void set_call(std::size_t queue, OwnedFd fd);
  void set_error(std::size_t queue, OwnedFd fd) { queues_[queue].error = std::move(fd); }
  // Called inside the device where its configuration has changed.
  void set_config_listener(std::function<void()> listener) { config_ = std::move(listener); }

  bool is_running(std::size_t queue) const { return queues_[queue].is_running; }
  VirtqueueState state(std::size_t queue) const { return queues_[queue].queue.state(); }
  // Whether it runs, and no error has stopped it.
  bool is_serving(std::size_t queue) const {
    return is_running(queue) && queues_[queue].queue.error() == VirtqueueError::kNone;
  }
  // Starts, and looks for requests: those that came before need no kick. The driver is
  // interrupted once: a back end that is gone may have owed it that.
  VirtqueueError start(std::size_t queue, const VirtqueueConfig& config);
  // No further request is taken; those that were are completed first, which takes as long as
  // the storage needs. Where the queue stands then; nothing of one that could not be started.
  //
  // Needs:  is_running(queue).
  std::optional<VirtqueueState> stop(std::size_t queue);
  // Of one that an error has stopped: nothing of what it had taken reaches memory any more.
  void forget_requests(std::size_t queue) {
    device_->reset_queue(static_cast<std::uint16_t>(queue));
  }
  // Where the driver of a split ring has seen the device last. Nothing: the ring is not there.
  std::optional<VirtqueueState> split_start(const VirtqueueConfig& config);
  // Whether nothing of a packed ring was ever used: its first descriptor was not.
  bool is_new(const VirtqueueConfig& config);
  // What the driver of a split ring has offered.
  std::optional<std::uint16_t> split_available(const VirtqueueConfig& config);
  // Of a packed ring. Nothing: the ring is not there.
  std::optional<Descriptor> packed_descriptor(const VirtqueueConfig& config,
                                              std::uint64_t position);
  // All of them, at once: what is under way is forgotten.
  void reset();
  // Whether a queue has stopped for an error that the driver made.
  bool has_failed() const;

  void notify(std::size_t queue);
  // Becomes readable when there is something for serve_pending().
  int wake_fd() const { return wake_fd_.get(); }
  // Makes it so. Any thread, and signal handlers.
  void ring() const;
  // Whether serve_pending() has something left of last time.
  bool has_pending() const { return pending_count_ > 0; }
  // Has serve_pending() look at every queue that runs.
  void look_at_all();
  // One round of what was woken and what was put off.
  void serve_pending();

 private:
  struct Queue {
    Virtqueue queue;
    OwnedFd call{};
    OwnedFd error{};
    bool is_running = false;
    bool is_error_told = false;
    bool is_pending = false;
  };

  DmaSpace& dma() override { return dma_; }
  Virtqueue& queue(std::uint16_t index) override { return queues_[index].queue; }
  std::uint64_t accepted_features() const override { return features_; }
  void signal_used(std::uint16_t queue) override;
  void signal_config() override;
  void defer(std::uint16_t queue) override { set_pending(queue); }
  void wake(std::uint16_t queue) override { wake_up(queue); }
  void wake_config() override { wake_up(queues_.size()); }
  void wake_up(std::size_t what);
  void take_wakes();
  void set_pending(std::size_t queue);
  bool take_pending(std::size_t queue);
  std::optional<std::uint16_t> load_index(std::uint64_t ring);
  void drain(std::size_t queue);
  void use_space(DmaSpace space);
  void signal_driver(Queue& queue);
  void report_errors();

  vm_mem::MemoryReader& reader_;
  DmaSpace dma_;
  VhostUserCounts& counts_;
  std::vector<Queue> queues_;
  std::uint64_t features_ = 0;
  bool is_active_ = false;
  std::size_t pending_count_ = 0;
  OwnedFd wake_fd_;
  std::unique_ptr<std::atomic<bool>[]> woken_;  // by queue, and the configuration
  std::function<void()> config_;
  std::unique_ptr<VirtioDevice> device_;  // the first to go: its threads use the rest
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_TRANSPORT_H_
