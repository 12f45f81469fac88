#include "vm_device/mmio_bus.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <list>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/transaction.h"

namespace vm_device {
namespace {

using internal::TransactionEntry;
using vm_mem::AccessFault;
using vm_mem::MmioHandler;

// Counts the visitors that were the last to leave a guard that had been closed. No guard's
// own: who left touches it no more, and it may be gone.
constinit std::atomic<unsigned> departures{0};

// Stands in the map for the device. It outlives the device's attachment: an access that
// began on an older map may still arrive.
class GuardedDevice final : public MmioHandler {
 public:
  explicit GuardedDevice(MmioHandler* device) : device_(device) {}

  AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override {
    return enter([&](MmioHandler& device) { return device.mmio_read(offset, size, value); });
  }
  AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override {
    return enter([&](MmioHandler& device) { return device.mmio_write(offset, size, value); });
  }

  // Returns when no thread is in the device, and none will be.
  void close() {
    visits_.fetch_or(kClosed);
    for (unsigned seen = departures.load(); visits_.load() >= kOneVisit; seen = departures.load()) {
      departures.wait(seen);
    }
  }

  // Of a closed guard that the map may lead to for longer than its bus lives.
  static void abandon(std::unique_ptr<GuardedDevice> guard) {
    GuardedDevice* const last = guard.release();
    last->next_abandoned_ = abandoned_.load();
    while (!abandoned_.compare_exchange_weak(last->next_abandoned_, last)) {
    }
  }

 private:
  static constexpr unsigned kClosed = 1;
  static constexpr unsigned kOneVisit = 2;

  // Counts an access for as long as it may be in the device.
  class Visit {
   public:
    explicit Visit(std::atomic<unsigned>& visits)
        : visits_(visits), is_refused_((visits.fetch_add(kOneVisit) & kClosed) != 0) {}
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() {
      if (visits_.fetch_sub(kOneVisit) != kOneVisit + kClosed) return;
      departures.fetch_add(1);
      departures.notify_all();
    }

    bool is_refused() const { return is_refused_; }

   private:
    std::atomic<unsigned>& visits_;
    const bool is_refused_;
  };

  template <typename Access>
  AccessFault enter(Access access) {
    const Visit visit(visits_);
    if (visit.is_refused()) return AccessFault::kDevice;
    if (TransactionEntry::holds(device_)) {
      TransactionEntry::note_refusal();
      return AccessFault::kBusy;
    }
    if (TransactionEntry::device_depth() >= internal::kMaxDeviceDepth) return AccessFault::kBusy;
    const TransactionEntry entry(internal::EntryKind::kMmio, device_);
    return access(*device_);
  }

  static constinit std::atomic<GuardedDevice*> abandoned_;

  MmioHandler* const device_;
  std::atomic<unsigned> visits_{0};
  GuardedDevice* next_abandoned_ = nullptr;
};

constinit std::atomic<GuardedDevice*> GuardedDevice::abandoned_{nullptr};

struct Attachment {
  MmioHandler* device;
  vm_mem::RegionId region;
  std::unique_ptr<GuardedDevice> guard;
};

}  // namespace

// Lists: an attachment moves from one to the other without an allocation.
struct MmioBus::State {
  explicit State(vm_mem::MemoryManager& manager) : memory(manager) {}

  std::list<Attachment>::iterator find(const MmioHandler* device) {
    return std::find_if(attached.begin(), attached.end(),
                        [&](const Attachment& it) { return it.device == device; });
  }
  absl::Status attach(vm_mem::GuestRange range, MmioHandler* device, const std::string& label);
  void forget_departed();
  bool is_mapped(vm_mem::RegionId region) const;

  vm_mem::MemoryManager& memory;
  std::mutex mutex;
  std::list<Attachment> attached;
  std::list<Attachment> closed;  // an access that began before may still arrive
};

// What the region's departure waits for are accesses that may arrive.
void MmioBus::State::forget_departed() {
  closed.remove_if([this](const Attachment& it) {
    return memory.wait_until_unused(it.region, std::chrono::nanoseconds(0)).ok();
  });
}

// Also where that cannot be known.
bool MmioBus::State::is_mapped(vm_mem::RegionId region) const {
  try {
    const absl::Status gone = memory.wait_until_unused(region, std::chrono::nanoseconds(0));
    return absl::IsFailedPrecondition(gone);
  } catch (const std::bad_alloc&) {
    return true;
  }
}

absl::Status MmioBus::State::attach(vm_mem::GuestRange range, MmioHandler* device,
                                    const std::string& label) {
  if (device == nullptr) return absl::InvalidArgumentError(label + ": no device to attach");
  const std::lock_guard lock(mutex);
  forget_departed();
  if (find(device) != attached.end()) {
    return absl::AlreadyExistsError(label + ": the device is attached already");
  }
  // All of it before the map leads there.
  std::list<Attachment> added;
  added.push_back({device, {}, std::make_unique<GuardedDevice>(device)});
  const auto region = memory.add_mmio(range, added.back().guard.get());
  if (!region.ok()) {
    return absl::Status(region.status().code(),
                        absl::StrFormat("%s: %s", label, region.status().message()));
  }
  added.back().region = *region;
  attached.splice(attached.end(), added);
  return absl::OkStatus();
}

MmioBus::MmioBus(vm_mem::MemoryManager& memory) : state_(std::make_unique<State>(memory)) {}

// A region that cannot be removed, or is not yet, leads to its guard for longer: an alias
// shows it, the host has no memory left, or a change has not ended.
MmioBus::~MmioBus() {
  for (Attachment& it : state_->attached) {
    state_->memory.remove_region(it.region, vm_mem::RemovePolicy::kRefuse).IgnoreError();
    it.guard->close();
  }
  state_->closed.splice(state_->closed.end(), state_->attached);
  for (Attachment& it : state_->closed) {
    if (state_->is_mapped(it.region)) GuardedDevice::abandon(std::move(it.guard));
  }
}

absl::Status MmioBus::attach(vm_mem::GuestRange range, MmioHandler* device, std::string_view name) {
  try {
    return state_->attach(range, device, std::string(name));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the host has no memory left to attach a device");
  }
}

absl::Status MmioBus::detach(MmioHandler* device) {
  if (TransactionEntry::is_inside(device)) {
    return absl::FailedPreconditionError("a device cannot be detached from inside its own access");
  }
  std::list<Attachment> leaving;
  {
    const std::lock_guard lock(state_->mutex);
    const auto it = state_->find(device);
    if (it == state_->attached.end()) return absl::NotFoundError("the device is not attached");
    absl::Status removed = state_->memory.remove_region(it->region, vm_mem::RemovePolicy::kRefuse);
    if (!removed.ok()) return removed;
    leaving.splice(leaving.end(), state_->attached, it);
  }
  // Not under the lock: an access that is in the device may use the bus.
  leaving.back().guard->close();
  const std::lock_guard lock(state_->mutex);
  state_->closed.splice(state_->closed.end(), leaving);
  return absl::OkStatus();
}

}  // namespace vm_device
