#include "vm_device/internal/iommu_fault_queue.h"

namespace vm_device::internal {

bool IommuFaultQueue::keep(const IommuFault& fault) {
  const std::lock_guard lock(mutex_);
  if (count_ == ring_.size()) {
    ++lost_;
    return false;
  }
  ring_[(first_ + count_++) % ring_.size()] = fault;
  return true;
}

// Counted before the listener is looked up: listen() replaces it before it reads the count,
// so that one of the two sees the other.
void IommuFaultQueue::push(const IommuFault& fault) {
  if (!keep(fault)) return;
  telling_.fetch_add(1);
  if (IommuFaultListener* const listener = listener_.load(); listener != nullptr) {
    listener->fault_recorded();
  }
  telling_.fetch_sub(1);
  telling_.notify_all();
}

void IommuFaultQueue::listen(IommuFaultListener* listener) {
  listener_.store(listener);
  for (int telling = telling_.load(); telling != 0; telling = telling_.load()) {
    telling_.wait(telling);
  }
}

std::size_t IommuFaultQueue::poll(std::span<IommuFault> out) {
  const std::lock_guard lock(mutex_);
  std::size_t taken = 0;
  for (; taken < out.size() && count_ > 0; ++taken, --count_) {
    out[taken] = ring_[first_];
    first_ = (first_ + 1) % ring_.size();
  }
  return taken;
}

std::uint64_t IommuFaultQueue::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

}  // namespace vm_device::internal
