// What a virtio-mmio slot is to a snapshot.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "vm_device/internal/transaction.h"
#include "vm_device/internal/transport_gate.h"
#include "vm_device/internal/virtio_mmio_registers.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {
namespace {

using namespace internal;  // the register names

constexpr auto kLastError = VirtqueueError::kNoMemory;
constexpr std::uint32_t kInterrupts = kInterruptUsed | kInterruptConfig;

// A queue beside what its driver has set up.
struct SavedQueue {
  bool is_enabled = false;
  VirtqueueError error = VirtqueueError::kNone;
  bool is_error_told = false;
  bool is_deferred = false;
  bool is_woken = false;
  VirtqueueState at;
};

template <typename Archive, typename Queue>
void queue_fields(Archive& archive, Queue& queue) {
  archive(queue.is_enabled, queue.is_error_told, queue.is_deferred, queue.is_woken);
  archive.choice(queue.error, kLastError);
  archive(queue.at.next_available, queue.at.next_used);
}

template <typename Archive, typename Config>
void config_fields(Archive& archive, Config& config) {
  archive(config.size, config.descriptor_table, config.driver_area, config.device_area);
}

}  // namespace

template <typename Archive, typename Transport>
void VirtioMmio::registers(Archive& archive, Transport& transport) {
  archive(transport.driver_features_, transport.device_features_select_,
          transport.driver_features_select_, transport.queue_select_, transport.interrupt_status_,
          transport.status_, transport.config_generation_);
}

absl::Status VirtioMmio::save(StateWriter& to) {
  if (device_ == nullptr) return absl::OkStatus();
  gate_->enter();
  const GateStay stay(*gate_);  // what is woken meanwhile is in the state, and waits here
  if ((status_ & kStatusDriverOk) != 0) {
    const TransactionEntry entry(EntryKind::kMmio, this);
    device_->drain();
    report_errors();
  }
  to(device_->device_id(), static_cast<std::uint16_t>(queues_.size()));
  registers(to, *this);
  to(gate_->is_woken(gate_->config()));
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    if (absl::Status bad = save_queue(to, i); !bad.ok()) return bad;
  }
  return device_->save(to);
}

// Of a queue that has stopped requests may be out: they are lost to it.
absl::Status VirtioMmio::save_queue(StateWriter& to, std::uint16_t index) {
  const QueueState& state = queues_[index];
  const SavedQueue saved{.is_enabled = state.queue.is_enabled(),
                         .error = state.queue.error(),
                         .is_error_told = state.is_error_told,
                         .is_deferred = gate_->is_deferred(index),
                         .is_woken = gate_->is_woken(index),
                         .at = state.queue.state()};
  if (saved.error == VirtqueueError::kNone && !state.queue.is_idle()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the device still has requests of queue %u", index));
  }
  config_fields(to, state.config);
  queue_fields(to, saved);
  return absl::OkStatus();
}

absl::Status VirtioMmio::load(StateReader& from) {
  if (device_ == nullptr) return from.finish();
  gate_->enter();
  GateStay stay(*gate_);
  const TransactionEntry entry(EntryKind::kMmio, this);
  reset();
  absl::Status status = load_all(from);
  if (!status.ok()) reset();
  update_line();
  leave(stay);
  return status;
}

absl::Status VirtioMmio::load_all(StateReader& from) {
  std::uint32_t id = 0;
  std::uint16_t count = 0;
  from(id, count);
  if (!from.ok()) return from.status();
  if (id != device_->device_id() || count != queues_.size()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the state is of a virtio device of type %u with %u queues, not of type %u with %u", id,
        count, device_->device_id(), queues_.size()));
  }
  registers(from, *this);
  bool is_config_woken = false;
  from(is_config_woken);
  const bool is_agreed = (status_ & kStatusFeaturesOk) != 0;
  from.check(status_ <= 0xff && (interrupt_status_ & ~kInterrupts) == 0, "bits without a meaning");
  from.check(is_agreed || (status_ & kStatusDriverOk) == 0, "a driver that has agreed on nothing");
  if (!from.ok()) return from.status();
  if (is_agreed && !accepts(driver_features_)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the driver uses features 0x%x, and the device offers 0x%x",
                        driver_features_, offered_features()));
  }
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    if (absl::Status bad = load_queue(from, i); !bad.ok()) return bad;
  }
  if ((status_ & kStatusDriverOk) != 0) device_->activate(*this);
  if (absl::Status bad = device_->load(from); !bad.ok()) return bad;
  if (is_config_woken) wake_config();
  return from.finish();
}

absl::Status VirtioMmio::load_queue(StateReader& from, std::uint16_t index) {
  QueueState& state = queues_[index];
  SavedQueue saved;
  config_fields(from, state.config);
  queue_fields(from, saved);
  from.check(!saved.is_enabled || (status_ & kStatusFeaturesOk) != 0,
             "a queue of a driver that has agreed on nothing");
  from.check(saved.error == VirtqueueError::kNone || saved.is_error_told,
             "an error that nobody was told of");
  if (!from.ok()) return from.status();
  state.is_error_told = saved.is_error_told;
  if (saved.is_enabled) {
    VirtqueueConfig config = state.config;
    config.features = driver_features_;
    config.start = saved.at;
    if (saved.error != VirtqueueError::kNone) config.start->next_available = saved.at.next_used;
    if (const auto bad = state.queue.enable(config); bad != VirtqueueError::kNone) {
      from.refuse(absl::StrFormat("queue %u cannot be: %s", index, virtqueue_error_name(bad)));
      return from.status();
    }
  }
  if (saved.error != VirtqueueError::kNone) state.queue.fail(saved.error);
  if (saved.is_deferred) gate_->defer(index, {});
  if (saved.is_woken) wake(index);
  return absl::OkStatus();
}

}  // namespace vm_device
