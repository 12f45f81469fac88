// A range of bus addresses that may reach 2^64, or be all of them.
#ifndef VM_DEVICE_INTERNAL_BUS_RANGE_H_
#define VM_DEVICE_INTERNAL_BUS_RANGE_H_

#include <cstdint>
#include <optional>

namespace vm_device::internal {

// [first, last], both inclusive.
struct BusRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  // Nothing: it is empty, or wraps; but 0 bytes at 0 are the whole, as 2^64 of them.
  static constexpr std::optional<BusRange> make(std::uint64_t iova, std::uint64_t bytes) {
    const bool is_whole = iova == 0 && bytes == 0;
    if (!is_whole && (bytes == 0 || bytes - 1 > UINT64_MAX - iova)) return std::nullopt;
    return BusRange{iova, iova + (bytes - 1)};
  }
  // Of the pages that it touches.
  constexpr BusRange pages() const { return {first & ~std::uint64_t{4095}, last | 4095}; }
  constexpr bool overlaps(const BusRange& other) const {
    return first <= other.last && other.first <= last;
  }
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BUS_RANGE_H_
