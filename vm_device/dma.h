// What one device may reach of guest memory, and how it moves bytes there.
#ifndef VM_DEVICE_DMA_H_
#define VM_DEVICE_DMA_H_

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

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

// A run of bus addresses.
struct DmaSegment {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

// A place in a list of segments, to move through it in several steps.
class SegmentCursor {
 public:
  // Needs:  the list outlives this object. Segments may be empty; their bytes may add
  //         up to more than 2^64 - 1.
  explicit SegmentCursor(std::span<const DmaSegment> list) : list_(list) {}

  // The next run of at most `limit` bytes, inside one segment; nothing is passed.
  // Its `bytes` is 0 at the end of the list only (or where `limit` is 0).
  DmaSegment peek(std::uint64_t limit);
  // Passes `bytes`, or all that are left.
  void skip(std::uint64_t bytes);

 private:
  std::span<const DmaSegment> list_;
  std::uint64_t offset_ = 0;  // into the first segment of list_
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

  // Moves at the cursor, which then stands at the first byte that was not moved.
  DmaResult read(SegmentCursor& from, std::span<std::byte> to);
  DmaResult write(SegmentCursor& to, std::span<const std::byte> from);

  // Guest to guest; memmove semantics where the ranges overlap.
  DmaResult copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  DmaResult fill(std::uint64_t to, std::byte value, std::uint64_t bytes);
  DmaResult fill(std::span<const DmaSegment> to, std::byte value);

  // Typed access in host byte order, single-copy atomic where naturally aligned.
  //
  // Errors:  in the result; `value` is written only on success.
  template <vm_mem::GuestWord T>
  DmaResult load(std::uint64_t address, T& value,
                 std::memory_order order = std::memory_order_relaxed) {
    Word<sizeof(T)> word = 0;
    const DmaResult result = load_word(address, word, order);
    if (result.ok()) value = std::bit_cast<T>(word);
    return result;
  }
  template <vm_mem::GuestWord T>
  DmaResult store(std::uint64_t address, T value,
                  std::memory_order order = std::memory_order_relaxed) {
    return store_word(address, std::bit_cast<Word<sizeof(T)>>(value), order);
  }

 private:
  template <std::size_t kBytes>
  using Word = std::conditional_t<
      kBytes == 1, std::uint8_t,
      std::conditional_t<kBytes == 2, std::uint16_t,
                         std::conditional_t<kBytes == 4, std::uint32_t, std::uint64_t>>>;

  template <std::unsigned_integral T>
  DmaResult load_word(std::uint64_t address, T& value, std::memory_order order);
  template <std::unsigned_integral T>
  DmaResult store_word(std::uint64_t address, T value, std::memory_order order);
  // Runs `access`, which gives an AccessResult, as DMA of the initiator.
  template <typename Access>
  DmaResult as_initiator(Access access);

  vm_mem::MemoryManager* memory_;
  const vm_mem::MmioHandler* initiator_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_H_
