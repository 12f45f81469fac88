// One address space of an IOMMU: its table, and what tells the IOTLBs that it changed.
#ifndef VM_DEVICE_INTERNAL_IOMMU_DOMAIN_H_
#define VM_DEVICE_INTERNAL_IOMMU_DOMAIN_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "vm_device/internal/iommu_epochs.h"
#include "vm_device/internal/iommu_table.h"
#include "vm_device/internal/iotlb.h"

namespace vm_device::internal {

class IommuDomain {
 public:
  IommuDomain(IommuEpochs& epochs, IommuNodeBudget& budget, std::uint64_t serial)
      : epochs_(epochs), table_(budget), serial_(serial) {}
  // Needs:  no thread in DMA that may have found this object.
  ~IommuDomain();

  // --- By threads in DMA.

  std::uint64_t serial() const { return serial_; }
  // Of the invalidations so far.
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  // Makes `tlb` one of this domain that has seen all invalidations up to now.
  void refresh(Iotlb& tlb) const;
  // Looks `iova` up, and the pages up to `last` that are found on the way, and remembers
  // them. Null: no such access there; `mapped` then says whether there is a page.
  const Iotlb::Entry* walk(Iotlb& tlb, std::uint64_t iova, std::uint64_t last, std::uint8_t access,
                           bool& mapped) const;

  // --- By threads that change it.

  std::mutex& mutex() { return mutex_; }
  // Under mutex().
  IommuTable& table() { return table_; }
  // Under mutex(): everything that was taken from the table is out of use for DMA that
  // starts later.
  void invalidate(std::uint64_t first, std::uint64_t last);
  // Under mutex(): frees what no thread can be in any more.
  void reclaim();

 private:
  static constexpr std::uint64_t kLogged = 16;
  struct Range {
    std::atomic<std::uint64_t> first{0};
    std::atomic<std::uint64_t> last{0};
  };

  bool replay(Iotlb& tlb, std::uint64_t now) const;

  std::atomic<std::uint64_t> generation_{0};
  std::array<Range, kLogged> log_;  // of invalidation n: [n % kLogged]
  IommuEpochs& epochs_;
  std::mutex mutex_;
  IommuTable table_;
  IommuTable::Node* waiting_ = nullptr;  // unlinked, not yet freed; the oldest
  IommuTable::Node* newest_ = nullptr;   // where there is one
  const std::uint64_t serial_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOMMU_DOMAIN_H_
