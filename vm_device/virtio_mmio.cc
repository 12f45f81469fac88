#include "vm_device/virtio_mmio.h"

#include <algorithm>
#include <array>
#include <utility>

#include "vm_device/internal/transaction.h"
#include "vm_device/internal/transport_gate.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/internal/virtio_mmio_registers.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

using namespace internal;  // the register names
using vm_mem::AccessFault;

constexpr std::uint64_t kTransportFeatures = kFeatureVersion1 | kFeatureRingIndirect |
                                             kFeatureRingEventIdx | kFeatureRingPacked |
                                             kFeatureInOrder | kFeatureRingReset;

// A host that wakes as fast as it is served would keep the guest's CPU here; past this
// many times in one access the rest waits for the next one.
constexpr int kMaxWakesServed = 16;

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
                       InterruptLine& line, VirtioMmioOptions options)
    : dma_(options.iommu == nullptr ? DmaSpace(memory, this)
                                    : DmaSpace(memory, *options.iommu, options.device, this)),
      options_(options),
      line_(&line),
      device_(std::move(device)) {
  const std::uint16_t count = device_ == nullptr ? 0 : device_->queue_count();
  gate_ = std::make_unique<TransportGate>(count);
  queues_.reserve(count);
  for (std::uint16_t i = 0; i < count; ++i) {
    queues_.push_back({.config = {}, .queue = Virtqueue(dma_, device_->max_queue_size(i))});
  }
  if (device_ != nullptr) device_->connect(*this);
}

VirtioMmio::~VirtioMmio() = default;

// A thread that holds another device must not wait here: the one that holds this device
// may be waiting for that one.
bool VirtioMmio::enter() {
  if (TransactionEntry::is_inside_other_than(this)) return gate_->try_enter();
  gate_->enter();
  return true;
}

void VirtioMmio::leave(GateStay& stay) {
  for (int served = 0; const auto woken = stay.take_or_leave(); ++served) {
    const auto queue = static_cast<std::uint16_t>(woken->what);
    if (woken->what == gate_->config()) {
      device_->take_config();
      signal_config();
      report_errors();
    } else if (!is_servable(queue)) {
      continue;
    } else if (served >= kMaxWakesServed || TransactionEntry::in_dma_of_other_than(this)) {
      put_off(queue, woken->chain);
    } else {
      const ResumedTransaction resumed(woken->chain);
      serve(queue);
    }
  }
}

AccessFault VirtioMmio::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  if (!enter()) return AccessFault::kBusy;
  GateStay stay(*gate_);
  run_deferred();
  value = 0;
  if (offset >= kRegConfig) {
    read_config(offset - kRegConfig, size, value);
  } else if (size == 4) {
    value = read_register(offset);
  }
  leave(stay);
  return AccessFault::kNone;
}

AccessFault VirtioMmio::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (!enter()) return AccessFault::kBusy;
  GateStay stay(*gate_);
  const auto bits = static_cast<std::uint32_t>(value);
  // The driver's own bell stands for one that was put off: the work is the driver's then.
  const bool is_bell = offset == kRegQueueNotify && size == 4 && bits < queues_.size();
  if (is_bell && !TransactionEntry::is_inside_other_than(this)) gate_->take_deferred(bits);
  run_deferred();
  if (offset >= kRegConfig) {
    write_config(offset - kRegConfig, size, value);
  } else if (size == 4 && device_ != nullptr) {
    write_register(offset, bits);
  }
  leave(stay);
  return AccessFault::kNone;
}

VirtqueueError VirtioMmio::queue_error(std::uint16_t queue) {
  gate_->enter();
  GateStay stay(*gate_);
  const VirtqueueError error =
      queue < queues_.size() ? queues_[queue].queue.error() : VirtqueueError::kNone;
  leave(stay);
  return error;
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
      call_for_access();
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
  if (offset == kRegQueueReset) return write_queue_reset(*state, value);
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

// An error stays with its queue: to be not ready and ready again gives no other start.
void VirtioMmio::write_queue_ready(QueueState& state, std::uint32_t value) {
  if (value == 0) {
    forget_requests(state);
    const VirtqueueError error = state.queue.error();
    state.queue.reset();
    state.queue.fail(error);
    return;
  }
  // Which form the ring has, is settled by FEATURES_OK.
  if (value != 1 || (status_ & kStatusFeaturesOk) == 0) return;
  if (state.queue.is_enabled() || state.queue.error() != VirtqueueError::kNone) return;
  state.config.features = driver_features_;
  state.queue.enable(state.config);
  report_errors();
}

// Done when the write is: the register reads as 0. The driver sets the queue up anew.
void VirtioMmio::write_queue_reset(QueueState& state, std::uint32_t value) {
  if (value != 1 || (driver_features_ & kFeatureRingReset) == 0) return;
  if ((status_ & kStatusFeaturesOk) == 0) return;
  forget_requests(state);
  state.queue.reset();
  state.config = {};
  state.is_error_told = false;
}

void VirtioMmio::forget_requests(const QueueState& state) {
  const auto queue = static_cast<std::uint16_t>(&state - queues_.data());
  gate_->take_deferred(queue);
  if ((status_ & kStatusDriverOk) != 0) device_->reset_queue(queue);
  report_errors();
}

void VirtioMmio::read_config(std::uint64_t offset, unsigned size, std::uint64_t& value) const {
  if (device_ == nullptr) return;
  std::array<std::byte, 8> bytes{};
  device_->read_config(offset, std::span(bytes).first(size));
  value = get_little_endian<std::uint64_t>(bytes.data());
}

void VirtioMmio::write_config(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (device_ == nullptr) return;
  std::array<std::byte, 8> bytes;
  put_little_endian(bytes.data(), value);
  device_->write_config(offset, std::span(bytes).first(size));
  report_errors();
}

VirtioMmio::QueueState* VirtioMmio::selected() {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

const VirtioMmio::QueueState* VirtioMmio::selected() const {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

std::uint64_t VirtioMmio::offered_features() const {
  const std::uint64_t platform = options_.iommu == nullptr ? 0 : kFeatureAccessPlatform;
  const std::uint64_t all = device_->device_features() | kTransportFeatures | platform;
  return all & (~options_.withheld_features | kFeatureVersion1);
}

void VirtioMmio::write_driver_features(std::uint32_t value) {
  if ((status_ & kStatusFeaturesOk) != 0) return;
  set_half(driver_features_, driver_features_select_, value);
}

bool VirtioMmio::accepts(std::uint64_t features) const {
  const bool must_translate =
      options_.iommu != nullptr && options_.access_platform == AccessPlatform::kRequired;
  const std::uint64_t required = kFeatureVersion1 | (must_translate ? kFeatureAccessPlatform : 0);
  return (required & ~features) == 0 && (features & ~offered_features()) == 0;
}

// Bits are set one after the other and cleared by a reset alone.
void VirtioMmio::write_status(std::uint32_t value) {
  if (value == 0) return reset();
  std::uint32_t added = value & 0xff & ~status_ & ~kStatusNeedsReset;
  if (!accepts(driver_features_)) added &= ~kStatusFeaturesOk;
  if (((status_ | added) & kStatusFeaturesOk) == 0) added &= ~kStatusDriverOk;
  status_ |= added;
  if ((added & kStatusDriverOk) == 0) return;
  device_->activate(*this);
  report_errors();
  // An error of the set-up could not be told before.
  if ((status_ & kStatusNeedsReset) != 0) raise(kInterruptConfig);
}

bool VirtioMmio::is_servable(std::uint32_t queue) const {
  if ((status_ & kStatusDriverOk) == 0 || queue >= queues_.size()) return false;
  const Virtqueue& target = queues_[queue].queue;
  return target.is_enabled() && target.error() == VirtqueueError::kNone;
}

// Work that another device's DMA asks for waits: done inside it, each device of a chain
// would multiply the work of the one before.
void VirtioMmio::notify(std::uint32_t queue) {
  if (!is_servable(queue)) return;
  const auto index = static_cast<std::uint16_t>(queue);
  if (TransactionEntry::in_dma_of_other_than(this)) return defer(index);
  serve(index);
}

void VirtioMmio::serve(std::uint16_t queue) {
  device_->notify(queue);
  report_errors();
}

// One queue's work at an access, so that a guest with many queues is not kept longer. Not by
// a thread that is in another device: it would hold that one meanwhile.
void VirtioMmio::run_deferred() {
  if (TransactionEntry::is_inside_other_than(this)) return;
  while (const auto next = gate_->take_next_deferred()) {
    if (!is_servable(static_cast<std::uint32_t>(next->what))) continue;
    const ResumedTransaction resumed(next->chain);
    serve(static_cast<std::uint16_t>(next->what));
    break;
  }
  call_for_access();
}

// An interrupt makes sure that there is one more access while work waits for it.
void VirtioMmio::call_for_access() {
  if (gate_->has_deferred()) raise(kInterruptUsed);
}

void VirtioMmio::signal_used(std::uint16_t queue) {
  if (queues_[queue].queue.wants_interrupt()) raise(kInterruptUsed);
}

void VirtioMmio::signal_config() {
  ++config_generation_;
  if ((status_ & kStatusDriverOk) != 0) raise(kInterruptConfig);
}

void VirtioMmio::defer(std::uint16_t queue) { put_off(queue, TransactionChain::current()); }

void VirtioMmio::put_off(std::uint16_t queue, const TransactionChain& chain) {
  gate_->defer(queue, chain);
  call_for_access();
}

void VirtioMmio::wake(std::uint16_t queue) {
  if (queue < queues_.size()) wake_work(queue);
}

void VirtioMmio::wake_config() { wake_work(gate_->config()); }

void VirtioMmio::wake_work(std::size_t what) {
  if (!gate_->wake({what, TransactionChain::current()})) return;
  GateStay stay(*gate_);
  const TransactionEntry entry(EntryKind::kMmio, this);  // as an access would have made it
  leave(stay);
}

// After every call of the device, which may have been at any queue: each error is told
// once. Before DRIVER_OK a device does not interrupt (section 2.1.2).
void VirtioMmio::report_errors() {
  for (QueueState& state : queues_) {
    if (state.is_error_told || state.queue.error() == VirtqueueError::kNone) continue;
    state.is_error_told = true;
    status_ |= kStatusNeedsReset;
    if ((status_ & kStatusDriverOk) != 0) raise(kInterruptConfig);
  }
}

void VirtioMmio::reset() {
  device_->reset();
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    gate_->take_deferred(i);
    queues_[i].queue.reset();
    queues_[i].config = {};
    queues_[i].is_error_told = false;
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
