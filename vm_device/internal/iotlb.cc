#include "vm_device/internal/iotlb.h"

namespace vm_device::internal {

const Iotlb::Entry& Iotlb::insert(std::uint64_t at, const Entry& entry) {
  Entry& slot = entry.extent < kLargeBytes - 1 ? small_[at / kIommuPageBytes % kSmall]
                                               : large_[at / kLargeBytes % kLarge];
  slot = entry;
  return slot;
}

void Iotlb::drop(std::uint64_t first, std::uint64_t last) {
  const auto drop_in = [&](auto& entries) {
    for (Entry& entry : entries) {
      if (entry.first <= last && first - entry.first <= entry.extent) entry = {};
      if (entry.first - first <= last - first) entry = {};
    }
  };
  drop_in(small_);
  drop_in(large_);
}

void Iotlb::clear() {
  small_.fill({});
  large_.fill({});
}

}  // namespace vm_device::internal
