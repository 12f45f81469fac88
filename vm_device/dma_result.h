// What DMA reports: how far it got, where on the bus it stopped, and why.
#ifndef VM_DEVICE_DMA_RESULT_H_
#define VM_DEVICE_DMA_RESULT_H_

#include <cstdint>
#include <string_view>

namespace vm_device {

enum class DmaFault : std::uint8_t {
  kNone,
  kUnmapped,
  kReadOnly,
  kProtected,
  kDevice,
  kHostFault,
  kBusy,
  kMisaligned,
  kTranslation,  // the IOMMU has no mapping, or forbids the access
  kReentrant,    // the DMA came back to a device of its own transaction
  kNotMapped,    // unmap() of what map() did not give, or of what is unmapped already
};

std::string_view dma_fault_name(DmaFault fault);

// `done` bytes were moved: the first `done` of the list, or, where `from_end` is set,
// the last `done` (a copy that has to run backward stopped in the middle). `at` is
// the bus address of the first byte that could not be; it means nothing when ok().
struct DmaResult {
  DmaFault fault = DmaFault::kNone;
  std::uint64_t done = 0;
  std::uint64_t at = 0;
  bool from_end = false;

  [[nodiscard]] constexpr bool ok() const { return fault == DmaFault::kNone; }
  friend constexpr bool operator==(const DmaResult&, const DmaResult&) = default;
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_RESULT_H_
