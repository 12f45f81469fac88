#include "vm_device/internal/iommu_fault_queue.h"

namespace vm_device::internal {

void IommuFaultQueue::push(const IommuFault& fault) {
  const std::lock_guard lock(mutex_);
  if (count_ == ring_.size()) {
    ++lost_;
    return;
  }
  ring_[(first_ + count_++) % ring_.size()] = fault;
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
