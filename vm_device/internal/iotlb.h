// One thread's memory of what it found in the table of a domain.
#ifndef VM_DEVICE_INTERNAL_IOTLB_H_
#define VM_DEVICE_INTERNAL_IOTLB_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "vm_device/internal/iommu_table.h"

namespace vm_device::internal {

// Direct-mapped, in two parts: pages of less than 2 MiB by their 4 KiB, larger ones by
// their 2 MiB.
class Iotlb {
 public:
  // A run of pages with one permission that lie one after the other on both sides.
  struct Entry {
    std::uint64_t first = 0;
    std::uint64_t extent = 0;  // bytes less one
    std::uint64_t shift = 0;   // guest address less IOVA
    std::uint8_t permitted = 0;
  };

  // The entry that permits `access` at `iova`, or null.
  const Entry* find(std::uint64_t iova, std::uint8_t access) const {
    const Entry& small = small_[iova / kIommuPageBytes % kSmall];
    if (permits(small, iova, access)) return &small;
    const Entry& large = large_[iova / kLargeBytes % kLarge];
    return permits(large, iova, access) ? &large : nullptr;
  }

  // Under the address `at`, which lies in it.
  const Entry& insert(std::uint64_t at, const Entry& entry);
  void drop(std::uint64_t first, std::uint64_t last);
  void clear();

  std::uint64_t domain = 0;      // serial number of the domain that the entries are of
  std::uint64_t generation = 0;  // of the domain, up to which invalidations were seen

 private:
  static constexpr std::size_t kSmall = 128;
  static constexpr std::size_t kLarge = 32;
  static constexpr std::uint64_t kLargeBytes = std::uint64_t{2} << 20;

  static bool permits(const Entry& entry, std::uint64_t iova, std::uint8_t access) {
    return iova - entry.first <= entry.extent && (entry.permitted & access) == access;
  }

  std::array<Entry, kSmall> small_{};
  std::array<Entry, kLarge> large_{};
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOTLB_H_
