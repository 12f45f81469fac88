#include "vm_device/mmio_bus.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_device/internal/transaction.h"

namespace vm_device {
namespace {

using internal::TransactionEntry;
using vm_mem::AccessFault;
using vm_mem::MmioHandler;

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
    device_.store(nullptr);
    for (int inside = inside_.load(); inside != 0; inside = inside_.load()) inside_.wait(inside);
  }

 private:
  // Counts an access for as long as it may be in the device.
  class Visit {
   public:
    explicit Visit(std::atomic<int>& inside) : inside_(inside) { inside_.fetch_add(1); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() {
      inside_.fetch_sub(1);
      inside_.notify_all();
    }

   private:
    std::atomic<int>& inside_;
  };

  template <typename Access>
  AccessFault enter(Access access) {
    // Counted before the device is looked up: close() clears it before it reads the
    // count, so that one of the two sees the other.
    const Visit visit(inside_);
    MmioHandler* const device = device_.load();
    if (device == nullptr) return AccessFault::kDevice;
    if (TransactionEntry::holds(device)) {
      TransactionEntry::note_refusal();
      return AccessFault::kBusy;
    }
    if (TransactionEntry::device_depth() >= internal::kMaxDeviceDepth) return AccessFault::kBusy;
    const TransactionEntry entry(internal::EntryKind::kMmio, device);
    return access(*device);
  }

  std::atomic<MmioHandler*> device_;
  std::atomic<int> inside_{0};
};

struct Attachment {
  MmioHandler* device;
  vm_mem::RegionId region;
  std::unique_ptr<GuardedDevice> guard;
};

}  // namespace

struct MmioBus::State {
  explicit State(vm_mem::MemoryManager& manager) : memory(manager) {}

  std::vector<Attachment>::iterator find(const MmioHandler* device) {
    return std::find_if(attached.begin(), attached.end(),
                        [&](const Attachment& it) { return it.device == device; });
  }

  vm_mem::MemoryManager& memory;
  std::mutex mutex;
  std::vector<Attachment> attached;
  std::vector<std::unique_ptr<GuardedDevice>> closed;
};

MmioBus::MmioBus(vm_mem::MemoryManager& memory) : state_(std::make_unique<State>(memory)) {}

MmioBus::~MmioBus() {
  for (const Attachment& it : state_->attached) {
    // It can only fail where somebody else has removed the region already.
    state_->memory.remove_region(it.region, vm_mem::RemovePolicy::kRefuse).IgnoreError();
    it.guard->close();
  }
}

absl::Status MmioBus::attach(vm_mem::GuestRange range, MmioHandler* device, std::string_view name) {
  const std::string label(name);
  if (device == nullptr) return absl::InvalidArgumentError(label + ": no device to attach");
  const std::lock_guard lock(state_->mutex);
  if (state_->find(device) != state_->attached.end()) {
    return absl::AlreadyExistsError(label + ": the device is attached already");
  }
  auto guard = std::make_unique<GuardedDevice>(device);
  const auto region = state_->memory.add_mmio(range, guard.get());
  if (!region.ok()) {
    return absl::Status(region.status().code(),
                        absl::StrFormat("%s: %s", label, region.status().message()));
  }
  state_->attached.push_back({device, *region, std::move(guard)});
  return absl::OkStatus();
}

absl::Status MmioBus::detach(MmioHandler* device) {
  if (TransactionEntry::is_inside(device)) {
    return absl::FailedPreconditionError("a device cannot be detached from inside its own access");
  }
  std::unique_ptr<GuardedDevice> guard;
  {
    const std::lock_guard lock(state_->mutex);
    const auto it = state_->find(device);
    if (it == state_->attached.end()) return absl::NotFoundError("the device is not attached");
    absl::Status removed = state_->memory.remove_region(it->region, vm_mem::RemovePolicy::kRefuse);
    if (!removed.ok()) return removed;
    guard = std::move(it->guard);
    state_->attached.erase(it);
  }
  guard->close();  // not under the lock: an access that is in the device may use the bus
  const std::lock_guard lock(state_->mutex);
  state_->closed.push_back(std::move(guard));
  return absl::OkStatus();
}

}  // namespace vm_device
