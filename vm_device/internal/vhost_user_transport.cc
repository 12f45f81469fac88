#include "vm_device/internal/vhost_user_transport.h"

#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/event_fd.h"
#include "vm_device/internal/vhost_user_iotlb.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_device::internal {
namespace {

constexpr int kDrainMilliseconds = 100;

}  // namespace

VhostUserTransport::VhostUserTransport(std::unique_ptr<VirtioDevice> device,
                                       vm_mem::MemoryReader& reader, VhostUserCounts& counts)
    : reader_(reader), dma_(reader), counts_(counts), device_(std::move(device)) {
  const std::uint16_t count = device_->queue_count();
  queues_.reserve(count);
  for (std::uint16_t i = 0; i < count; ++i) {
    queues_.push_back({.queue = Virtqueue(dma_, device_->max_queue_size(i))});
  }
  woken_ = std::make_unique<std::atomic<bool>[]>(std::size_t{count} + 1);
}

VhostUserTransport::~VhostUserTransport() = default;

absl::Status VhostUserTransport::open() {
  wake_fd_ = make_event_fd();
  if (!wake_fd_.is_open()) {
    return absl::ResourceExhaustedError(absl::StrFormat("eventfd: %s", std::strerror(errno)));
  }
  device_->connect(*this);
  return absl::OkStatus();
}

void VhostUserTransport::accept(std::uint64_t features, Iommu* iommu) {
  if (features == features_) return;
  if (is_active_) reset();
  if (((features ^ features_) & kFeatureAccessPlatform) != 0) {
    use_space(iommu == nullptr ? DmaSpace(reader_)
                               : DmaSpace(reader_, *iommu, VhostUserIotlb::kDevice));
  }
  features_ = features;
}

// Queues know the ways of the space that they were made for.
void VhostUserTransport::use_space(DmaSpace space) {
  dma_ = std::move(space);
  for (Queue& queue : queues_) queue.queue = Virtqueue(dma_, queue.queue.max_size());
}

VirtqueueError VhostUserTransport::start(std::size_t queue, const VirtqueueConfig& config) {
  Queue& target = queues_[queue];
  if (!is_active_) device_->activate(*this);
  is_active_ = true;
  target.is_error_told = false;
  target.is_running = true;
  target.queue.enable(config);
  notify(queue);
  signal_driver(target);
  return target.queue.error();
}

std::optional<std::uint16_t> VhostUserTransport::load_index(std::uint64_t ring) {
  std::uint16_t index = 0;
  if (!dma_.load(ring + kRingIndex, index).ok()) return std::nullopt;
  return little_endian(index);
}

std::optional<VirtqueueState> VhostUserTransport::split_start(const VirtqueueConfig& config) {
  const auto used = load_index(config.device_area);
  if (!used) return std::nullopt;
  return VirtqueueState{*used, *used};
}

std::optional<std::uint16_t> VhostUserTransport::split_available(const VirtqueueConfig& config) {
  return load_index(config.driver_area);
}

// In the first lap the device alone sets it, and the driver wherever it begins the second one: a
// chain's other descriptors stay as they are.
bool VhostUserTransport::is_new(const VirtqueueConfig& config) {
  for (std::uint64_t at = 0; at < config.size; ++at) {
    const auto descriptor = packed_descriptor(config, at);
    if (!descriptor || (descriptor->packed_flags() & kPackedUsed) != 0) return false;
  }
  return true;
}

std::optional<Descriptor> VhostUserTransport::packed_descriptor(const VirtqueueConfig& config,
                                                                std::uint64_t position) {
  std::array<std::byte, kDescriptorBytes> bytes{};
  const std::uint64_t at = config.descriptor_table + position * kDescriptorBytes;
  if (!dma_.read(at, bytes).ok()) return std::nullopt;
  return Descriptor::decode(bytes.data());
}

std::optional<VirtqueueState> VhostUserTransport::stop(std::size_t queue) {
  Queue& target = queues_[queue];
  target.queue.pause();
  drain(queue);
  device_->reset_queue(static_cast<std::uint16_t>(queue));
  const bool was_enabled = target.queue.is_enabled();
  const VirtqueueState at = target.queue.state();
  target.queue.reset();
  target.is_running = false;
  take_pending(queue);
  if (!was_enabled) return std::nullopt;
  // What could not be completed is to be done again.
  return VirtqueueState{at.next_used, at.next_used};
}

// Completions of requests under way wake their queue. Those that another back end has left may be
// more than the device takes at a time: they are taken meanwhile.
void VhostUserTransport::drain(std::size_t queue) {
  const Virtqueue& target = queues_[queue].queue;
  if (!device_->completes_alone(static_cast<std::uint16_t>(queue))) return;
  while (!target.is_idle() && target.error() == VirtqueueError::kNone) {
    if (!queues_[queue].is_pending) {
      pollfd wake{.fd = wake_fd_.get(), .events = POLLIN, .revents = 0};
      static_cast<void>(::poll(&wake, 1, kDrainMilliseconds));
      take_wakes();
    }
    if (take_pending(queue)) notify(queue);
  }
}

void VhostUserTransport::set_call(std::size_t queue, OwnedFd fd) {
  Queue& target = queues_[queue];
  target.call = std::move(fd);
  if (target.is_running) signal_driver(target);
}

void VhostUserTransport::signal_driver(Queue& queue) {
  if (!queue.call.is_open()) return;
  counts_.signals.fetch_add(1, std::memory_order_relaxed);
  signal_event(queue.call.get());
}

void VhostUserTransport::reset() {
  if (is_active_) device_->reset();
  is_active_ = false;
  for (Queue& queue : queues_) {
    queue.queue.reset();
    queue.is_running = queue.is_error_told = queue.is_pending = false;
  }
  pending_count_ = 0;
}

bool VhostUserTransport::has_failed() const {
  for (const Queue& queue : queues_) {
    if (queue.is_running && queue.queue.error() != VirtqueueError::kNone) return true;
  }
  return false;
}

void VhostUserTransport::notify(std::size_t queue) {
  const Queue& target = queues_[queue];
  if (target.is_running && target.queue.error() == VirtqueueError::kNone) {
    counts_.notifications.fetch_add(1, std::memory_order_relaxed);
    device_->notify(static_cast<std::uint16_t>(queue));
  }
  report_errors();
}

void VhostUserTransport::signal_used(std::uint16_t queue) {
  Queue& target = queues_[queue];
  if (target.call.is_open() && target.queue.wants_interrupt()) signal_driver(target);
}

void VhostUserTransport::signal_config() {
  if (config_) config_();
}

// After every call of the device, which may have been at any queue.
void VhostUserTransport::report_errors() {
  for (Queue& queue : queues_) {
    if (queue.is_error_told || queue.queue.error() == VirtqueueError::kNone) continue;
    queue.is_error_told = true;
    counts_.queue_errors.fetch_add(1, std::memory_order_relaxed);
    if (queue.error.is_open()) signal_event(queue.error.get());
  }
}

void VhostUserTransport::ring() const { signal_event(wake_fd_.get()); }

// The descriptor is written after the flag, and read before the flags are taken.
void VhostUserTransport::wake_up(std::size_t what) {
  if (!woken_[what].exchange(true)) ring();
}

void VhostUserTransport::take_wakes() {
  std::uint64_t count = 0;
  static_cast<void>(!::read(wake_fd_.get(), &count, sizeof count));
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (woken_[i].exchange(false) && queues_[i].is_running) set_pending(i);
  }
  if (!woken_[queues_.size()].exchange(false)) return;
  device_->take_config();
  signal_config();
}

void VhostUserTransport::set_pending(std::size_t queue) {
  if (!std::exchange(queues_[queue].is_pending, true)) ++pending_count_;
}

bool VhostUserTransport::take_pending(std::size_t queue) {
  const bool was_pending = std::exchange(queues_[queue].is_pending, false);
  if (was_pending) --pending_count_;
  return was_pending;
}

void VhostUserTransport::look_at_all() {
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].is_running) set_pending(i);
  }
}

void VhostUserTransport::serve_pending() {
  take_wakes();
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (take_pending(i)) notify(i);
  }
}

}  // namespace vm_device::internal
