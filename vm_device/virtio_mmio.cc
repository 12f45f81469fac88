#include "vm_device/virtio_mmio.h"

#include <algorithm>
#include <array>
#include <utility>

#include "vm_device/internal/transaction.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/internal/virtio_mmio_registers.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

using namespace internal;  // the register names
using vm_mem::AccessFault;

constexpr std::uint64_t kTransportFeatures =
    kFeatureVersion1 | kFeatureRingIndirect | kFeatureRingEventIdx;

// Bits of what a host thread wakes. Queues past the last bit of their own share it: to be
// notified without a cause is no harm.
constexpr std::uint64_t kWokenConfig = std::uint64_t{1} << 63;
constexpr unsigned kLastWokenQueue = 62;

constexpr std::uint64_t woken_queue(std::size_t queue) {
  return std::uint64_t{1} << std::min<std::size_t>(queue, kLastWokenQueue);
}

constexpr std::uint32_t half(std::uint64_t value, std::uint32_t select) {
  return select > 1 ? 0 : static_cast<std::uint32_t>(value >> (32 * select));
}

constexpr void set_half(std::uint64_t& value, std::uint32_t select, std::uint32_t bits) {
  if (select > 1) return;
  const unsigned shift = 32 * select;
  value = (value & ~(std::uint64_t{UINT32_MAX} << shift)) | (std::uint64_t{bits} << shift);
}

}  // namespace

VirtioMmio::VirtioMmio(vm_mem::MemoryManager& memory, std::unique_ptr<VirtioDevice> device,
                       InterruptLine& line)
    : dma_(memory, this), device_(std::move(device)), line_(&line) {
  const std::uint16_t count = device_ == nullptr ? 0 : device_->queue_count();
  queues_.reserve(count);
  for (std::uint16_t i = 0; i < count; ++i) {
    queues_.push_back({.config = {}, .queue = Virtqueue(dma_, device_->max_queue_size(i))});
  }
  if (device_ != nullptr) device_->connect(*this);
}

// A thread that holds another device must not wait here: the one that holds this device
// may be waiting for that one.
std::unique_lock<std::mutex> VirtioMmio::enter() const {
  if (TransactionEntry::holds_other_than(this)) {
    return std::unique_lock(mutex_, std::try_to_lock);
  }
  return std::unique_lock(mutex_);
}

AccessFault VirtioMmio::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  auto lock = enter();
  if (!lock.owns_lock()) return AccessFault::kBusy;
  run_deferred();
  value = 0;
  if (offset >= kRegConfig) {
    read_config(offset - kRegConfig, size, value);
  } else if (size == 4) {
    value = read_register(offset);
  }
  lock.unlock();
  serve_woken();
  return AccessFault::kNone;
}

AccessFault VirtioMmio::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  auto lock = enter();
  if (!lock.owns_lock()) return AccessFault::kBusy;
  run_deferred();
  if (device_ == nullptr) return AccessFault::kNone;
  if (offset >= kRegConfig) {
    write_config(offset - kRegConfig, size, value);
  } else if (size == 4) {
    write_register(offset, static_cast<std::uint32_t>(value));
  }
  lock.unlock();
  serve_woken();
  return AccessFault::kNone;
}

VirtqueueError VirtioMmio::queue_error(std::uint16_t queue) const {
  const std::lock_guard lock(mutex_);
  return queue < queues_.size() ? queues_[queue].queue.error() : VirtqueueError::kNone;
}

std::uint32_t VirtioMmio::read_register(std::uint64_t offset) const {
  switch (offset) {
    case kRegMagic: return kMagic;
    case kRegVersion: return kVersion;
    case kRegVendorId: return kVendorId;
    default: break;
  }
  if (device_ == nullptr) return 0;
  const QueueState* queue = selected();
  switch (offset) {
    case kRegDeviceId: return device_->device_id();
    case kRegDeviceFeatures: return half(offered_features(), device_features_select_);
    case kRegQueueSizeMax: return queue == nullptr ? 0 : queue->queue.max_size();
    case kRegQueueReady: return queue != nullptr && queue->queue.is_enabled() ? 1 : 0;
    case kRegInterruptStatus: return interrupt_status_;
    case kRegStatus: return status_;
    // No shared memory: the length and the base are all ones.
    case kRegSharedLengthLow:
    case kRegSharedLengthHigh:
    case kRegSharedBaseLow:
    case kRegSharedBaseHigh: return UINT32_MAX;
    case kRegConfigGeneration: return config_generation_;
    default: return 0;
  }
}

void VirtioMmio::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kRegDeviceFeaturesSelect: device_features_select_ = value; break;
    case kRegDriverFeatures: write_driver_features(value); break;
    case kRegDriverFeaturesSelect: driver_features_select_ = value; break;
    case kRegQueueSelect: queue_select_ = value; break;
    case kRegQueueNotify: notify(value); break;
    case kRegInterruptAck:
      interrupt_status_ &= ~value;
      update_line();
      break;
    case kRegStatus: write_status(value); break;
    default: write_queue_register(offset, value); break;
  }
}

void VirtioMmio::write_queue_register(std::uint64_t offset, std::uint32_t value) {
  QueueState* state = selected();
  if (state == nullptr) return;
  if (offset == kRegQueueReady) return write_queue_ready(*state, value);
  if (state->queue.is_enabled()) return;
  VirtqueueConfig& config = state->config;
  switch (offset) {
    // A size that 16 bits cannot hold is as bad as 0.
    case kRegQueueSize:
      config.size = value > UINT16_MAX ? 0 : static_cast<std::uint16_t>(value);
      break;
    case kRegQueueDescLow: set_half(config.descriptor_table, 0, value); break;
    case kRegQueueDescHigh: set_half(config.descriptor_table, 1, value); break;
    case kRegQueueDriverLow: set_half(config.driver_area, 0, value); break;
    case kRegQueueDriverHigh: set_half(config.driver_area, 1, value); break;
    case kRegQueueDeviceLow: set_half(config.device_area, 0, value); break;
    case kRegQueueDeviceHigh: set_half(config.device_area, 1, value); break;
    default: break;
  }
}

// An error stays with its queue: only a reset of the device gives it another start.
void VirtioMmio::write_queue_ready(QueueState& state, std::uint32_t value) {
  const VirtqueueError error = state.queue.error();
  if (value == 0) {
    state.queue.reset();
    state.queue.fail(error);
    return;
  }
  if (value != 1 || state.queue.is_enabled() || error != VirtqueueError::kNone) return;
  state.config.features = driver_features_;
  if (state.queue.enable(state.config) != VirtqueueError::kNone) require_reset();
}

void VirtioMmio::read_config(std::uint64_t offset, unsigned size, std::uint64_t& value) const {
  if (device_ == nullptr) return;
  std::array<std::byte, 8> bytes{};
  device_->read_config(offset, std::span(bytes).first(size));
  value = get_little_endian<std::uint64_t>(bytes.data());
}

void VirtioMmio::write_config(std::uint64_t offset, unsigned size, std::uint64_t value) {
  std::array<std::byte, 8> bytes;
  put_little_endian(bytes.data(), value);
  device_->write_config(offset, std::span(bytes).first(size));
}

VirtioMmio::QueueState* VirtioMmio::selected() {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

const VirtioMmio::QueueState* VirtioMmio::selected() const {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

std::uint64_t VirtioMmio::offered_features() const {
  return device_->device_features() | kTransportFeatures;
}

void VirtioMmio::write_driver_features(std::uint32_t value) {
  if ((status_ & kStatusFeaturesOk) != 0) return;
  set_half(driver_features_, driver_features_select_, value);
}

// Bits are set one after the other and cleared by a reset alone.
void VirtioMmio::write_status(std::uint32_t value) {
  if (value == 0) return reset();
  std::uint32_t added = value & 0xff & ~status_ & ~kStatusNeedsReset;
  const bool acceptable =
      (driver_features_ & kFeatureVersion1) != 0 && (driver_features_ & ~offered_features()) == 0;
  if (!acceptable) added &= ~kStatusFeaturesOk;
  if (((status_ | added) & kStatusFeaturesOk) == 0) added &= ~kStatusDriverOk;
  status_ |= added;
  if ((added & kStatusDriverOk) == 0) return;
  device_->activate(*this);
  // An error of the set-up could not be told before.
  if ((status_ & kStatusNeedsReset) != 0) raise(kInterruptConfig);
}

// Work that another device's DMA asks for waits: done inside it, each device of a chain
// would multiply the work of the one before.
void VirtioMmio::notify(std::uint32_t queue) {
  if ((status_ & kStatusDriverOk) == 0 || queue >= queues_.size()) return;
  Virtqueue& target = queues_[queue].queue;
  if (!target.is_enabled() || target.error() != VirtqueueError::kNone) return;
  if (TransactionEntry::in_dma_of_other_than(this)) return defer(static_cast<std::uint16_t>(queue));
  device_->notify(static_cast<std::uint16_t>(queue));
  if (target.error() != VirtqueueError::kNone) require_reset();
}

void VirtioMmio::run_deferred() {
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (std::exchange(queues_[i].deferred, false)) notify(static_cast<std::uint32_t>(i));
  }
}

void VirtioMmio::signal_used(std::uint16_t queue) {
  if (queues_[queue].queue.wants_interrupt()) raise(kInterruptUsed);
}

void VirtioMmio::signal_config() {
  ++config_generation_;
  raise(kInterruptConfig);
}

// The interrupt makes sure that there is a next access.
void VirtioMmio::defer(std::uint16_t queue) {
  queues_[queue].deferred = true;
  raise(kInterruptUsed);
}

void VirtioMmio::wake(std::uint16_t queue) { set_woken(woken_queue(queue)); }

void VirtioMmio::wake_config() { set_woken(kWokenConfig); }

void VirtioMmio::set_woken(std::uint64_t what) {
  woken_.fetch_or(what);
  if (!TransactionEntry::holds(this)) serve_woken();
}

// Whoever has the lock looks again once it has let go: of that one and the one who did not
// get it, one sees what was left. Nobody waits.
void VirtioMmio::serve_woken() {
  while (woken_.load() != 0) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    const std::uint64_t woken = woken_.exchange(0);
    if ((woken & kWokenConfig) != 0 && (status_ & kStatusDriverOk) != 0) signal_config();
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      if ((woken & woken_queue(i)) != 0) notify(static_cast<std::uint32_t>(i));
    }
  }
}

// Before DRIVER_OK a device does not interrupt (section 2.1.2).
void VirtioMmio::require_reset() {
  if ((status_ & kStatusNeedsReset) != 0) return;
  status_ |= kStatusNeedsReset;
  if ((status_ & kStatusDriverOk) != 0) raise(kInterruptConfig);
}

void VirtioMmio::reset() {
  device_->reset();
  for (QueueState& state : queues_) {
    state.queue.reset();
    state.config = {};
    state.deferred = false;
  }
  driver_features_ = 0;
  device_features_select_ = driver_features_select_ = queue_select_ = 0;
  interrupt_status_ = 0;
  status_ = 0;
  update_line();
}

void VirtioMmio::raise(std::uint32_t cause) {
  interrupt_status_ |= cause;
  update_line();
}

void VirtioMmio::update_line() { line_->set(interrupt_status_ != 0 ? Level::kHigh : Level::kLow); }

}  // namespace vm_device
