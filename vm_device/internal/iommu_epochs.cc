#include "vm_device/internal/iommu_epochs.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace vm_device::internal {
namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

bool membarrier(int command) { return ::syscall(SYS_membarrier, command, 0, 0) == 0; }

}  // namespace

// What this thread has of all IOMMUs. Either side may go first: the list that is left
// alone with an object drops it when it is next looked at.
struct IommuEpochs::Owned {
  struct Entry {
    std::uint64_t epochs;
    std::shared_ptr<IommuThread> thread;
  };
  ~Owned() {
    recent_ = {};
    ending_ = true;
  }

  std::vector<Entry> entries;
};

[[gnu::tls_model("initial-exec")]] constinit thread_local IommuEpochs::Recent IommuEpochs::recent_{
    0, nullptr};
constinit thread_local bool IommuEpochs::ending_ = false;
thread_local IommuEpochs::Owned IommuEpochs::owned_;

IommuEpochs::IommuEpochs(Barrier barrier)
    : serial_(next_serial()),
      barrier_offered_(barrier == Barrier::kOfTheHost &&
                       membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) {}
IommuEpochs::~IommuEpochs() = default;

IommuThread* IommuEpochs::find_thread() {
  if (ending_) return nullptr;
  IommuThread* thread = nullptr;
  for (const Owned::Entry& it : owned_.entries) {
    if (it.epochs == serial_) thread = it.thread.get();
  }
  if (thread == nullptr) thread = add_thread();
  if (thread != nullptr) recent_ = {serial_, thread};
  return thread;
}

IommuThread* IommuEpochs::add_thread() {
  const auto left = [](const auto& thread) { return thread.use_count() == 1; };
  try {
    std::erase_if(owned_.entries, [&](const Owned::Entry& it) { return left(it.thread); });
    auto thread = std::make_shared<IommuThread>();
    owned_.entries.reserve(owned_.entries.size() + 1);
    const std::lock_guard lock(mutex_);
    std::erase_if(threads_, left);
    threads_.push_back(thread);
    owned_.entries.push_back({serial_, std::move(thread)});
    return threads_.back().get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

std::uint64_t IommuEpochs::hold(const IommuThread& thread) {
  const std::uint64_t epoch = thread.active.load(std::memory_order_relaxed);
  try {
    const std::lock_guard lock(mutex_);
    ++holds_[epoch];
    return epoch;
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

void IommuEpochs::release(std::uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  const auto it = holds_.find(epoch);
  if (--it->second == 0) holds_.erase(it);
}

// A process that was forked from one that is registered may have to do it again.
bool IommuEpochs::settle() {
  if (!barrier_offered_) return true;
  barriers_.fetch_add(1, std::memory_order_relaxed);
  return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) ||
         (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
          membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
}

std::uint64_t IommuEpochs::oldest() {
  if (!settle()) return 0;
  std::uint64_t oldest = UINT64_MAX;
  const std::lock_guard lock(mutex_);
  for (const auto& thread : threads_) {
    const std::uint64_t active = thread->active.load();
    if (active != 0) oldest = std::min(oldest, active);
  }
  return oldest;
}

IommuEpochs::Users IommuEpochs::users_before(std::uint64_t epoch) {
  Users users;
  const std::lock_guard lock(mutex_);
  for (const auto& thread : threads_) {
    const std::uint64_t active = thread->active.load();
    users.threads += active != 0 && active < epoch ? 1 : 0;
  }
  for (const auto& [began, count] : holds_) users.mappings += began < epoch ? count : 0;
  return users;
}

}  // namespace vm_device::internal
