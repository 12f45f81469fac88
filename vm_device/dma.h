// What one device may reach of guest memory, and how it moves bytes there.
#ifndef VM_DEVICE_DMA_H_
#define VM_DEVICE_DMA_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "vm_mem/memory_manager.h"

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
};

std::string_view dma_fault_name(DmaFault fault);

// `done` bytes were moved: the first `done` of the list. `at` is the bus address of
// the first byte that could not be.
struct DmaResult {
  DmaFault fault = DmaFault::kNone;
  std::uint64_t done = 0;
  std::uint64_t at = 0;

  [[nodiscard]] constexpr bool ok() const { return fault == DmaFault::kNone; }
  friend constexpr bool operator==(const DmaResult&, const DmaResult&) = default;
};

// A run of bus addresses.
struct DmaSegment {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

// The view of one device. Without an IOMMU a bus address is a guest physical one.
// Lists are walked in order; the host buffer is their concatenation.
//
// Memory:   bytes are stored, then the pages are marked dirty, before the call
//           returns. Ordering against the guest is the caller's (a virtqueue's index).
// Threads:  any number at a time.
class DmaSpace {
 public:
  // `initiator` is the device whose DMA this is, as it stands on an MmioBus; DMA
  // that reaches its own registers, directly or through other devices, is
  // kReentrant. Null: DMA that belongs to no device on the bus.
  explicit DmaSpace(vm_mem::MemoryManager& memory, const vm_mem::MmioHandler* initiator = nullptr);

  DmaResult read(std::uint64_t address, std::span<std::byte> to);
  DmaResult write(std::uint64_t address, std::span<const std::byte> from);
  // Needs:  a list of any length and total; what is moved is the shorter of the list
  //         and the buffer.
  DmaResult read(std::span<const DmaSegment> from, std::span<std::byte> to);
  DmaResult write(std::span<const DmaSegment> to, std::span<const std::byte> from);

  // Guest to guest; memmove semantics where the ranges overlap.
  DmaResult copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  DmaResult fill(std::span<const DmaSegment> to, std::byte value);

  // Typed access, single-copy atomic where naturally aligned.
  template <vm_mem::GuestWord T>
  DmaResult load(std::uint64_t address, T& value,
                 std::memory_order order = std::memory_order_relaxed);
  template <vm_mem::GuestWord T>
  DmaResult store(std::uint64_t address, T value,
                  std::memory_order order = std::memory_order_relaxed);

 private:
  vm_mem::MemoryManager* memory_;
  const vm_mem::MmioHandler* initiator_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_H_
