// The refused DMA that somebody has still to be told of.
#ifndef VM_DEVICE_INTERNAL_IOMMU_FAULT_QUEUE_H_
#define VM_DEVICE_INTERNAL_IOMMU_FAULT_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "vm_device/iommu.h"

namespace vm_device::internal {

// Bounded: a guest decides on how many there are. Any number of threads at a time.
class IommuFaultQueue {
 public:
  explicit IommuFaultQueue(std::size_t capacity) : ring_(capacity) {}

  void push(const IommuFault& fault);
  std::size_t poll(std::span<IommuFault> out);
  std::uint64_t lost() const;
  void listen(IommuFaultListener* listener);

 private:
  bool keep(const IommuFault& fault);

  std::atomic<IommuFaultListener*> listener_{nullptr};
  std::atomic<int> telling_{0};  // threads that may be in a listener
  mutable std::mutex mutex_;
  std::vector<IommuFault> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOMMU_FAULT_QUEUE_H_
