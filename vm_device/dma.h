// What one device may reach of guest memory, and how it moves bytes there.
#ifndef VM_DEVICE_DMA_H_
#define VM_DEVICE_DMA_H_

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "vm_device/dma_mapping.h"
#include "vm_device/dma_result.h"
#include "vm_device/dma_segment.h"
#include "vm_device/iommu.h"
#include "vm_mem/guest_word.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {

class AsyncDma;
namespace internal {
struct DmaMemory;
class DmaMappings;
class DmaPieces;
class DmaTransfer;
class HeldMapping;
class RingMemory;
}  // namespace internal

// The view of one device. Without an IOMMU a bus address is a guest physical one; behind
// one every byte goes where its translation says, or nowhere. Lists are walked in order;
// the host buffer is their concatenation. Copies of a space are the same space.
//
// Memory:   bytes are stored, then the pages are marked dirty, before the call
//           returns. Ordering against the guest is the caller's (a virtqueue's index).
// Errors:   in the result. kTranslation: the IOMMU refuses the byte at `at`, and its fault
//           queue has been told.
// Threads:  any number at a time; made on a MemoryReader, that reader's one.
class DmaSpace {
 public:
  // `initiator` is the device whose DMA this is, as it stands on an MmioBus; DMA
  // that reaches its own registers, directly or through other devices, is
  // kReentrant. Null: DMA that belongs to no device on the bus.
  explicit DmaSpace(vm_mem::MemoryManager& memory, const vm_mem::MmioHandler* initiator = nullptr);
  // Behind `iommu`, as `device`. While the IOMMU does not know the device, or has it
  // attached to no domain, nothing can be reached.
  //
  // Needs:  `iommu` outlives this object.
  DmaSpace(vm_mem::MemoryManager& memory, Iommu& iommu, IommuDeviceId device,
           const vm_mem::MmioHandler* initiator = nullptr);
  // For a thread of its own: quicker, as the reader is. The reader's route counts. Who
  // idles parks the reader.
  //
  // Needs:  `reader` outlives this object.
  explicit DmaSpace(vm_mem::MemoryReader& reader, const vm_mem::MmioHandler* initiator = nullptr);
  DmaSpace(vm_mem::MemoryReader& reader, Iommu& iommu, IommuDeviceId device,
           const vm_mem::MmioHandler* initiator = nullptr);

  // Cost:  on a reader, without an IOMMU and within one section of memory that cannot
  //        fault: as the reader's own.
  DmaResult read(std::uint64_t address, std::span<std::byte> to) {
    const bool done = direct_ != nullptr ? direct_->try_read(vm_mem::GuestAddress{address}, to)
                                         : read_in_mind(address, to);
    return done ? DmaResult{.done = to.size()} : read_in_transfer(address, to);
  }
  DmaResult write(std::uint64_t address, std::span<const std::byte> from) {
    const bool done = direct_ != nullptr ? direct_->try_write(vm_mem::GuestAddress{address}, from)
                                         : write_in_mind(address, from);
    return done ? DmaResult{.done = from.size()} : write_in_transfer(address, from);
  }
  // Needs:  a list of any length and total; what is moved is the shorter of the list
  //         and the buffer.
  DmaResult read(std::span<const DmaSegment> from, std::span<std::byte> to);
  DmaResult write(std::span<const DmaSegment> to, std::span<const std::byte> from);

  // Moves at the cursor, which then stands at the first byte that was not moved.
  DmaResult read(SegmentCursor& from, std::span<std::byte> to);
  DmaResult write(SegmentCursor& to, std::span<const std::byte> from);

  // Guest to guest; memmove semantics where the ranges overlap. Behind an IOMMU overlap is
  // judged on bus addresses: where different ones show the same memory, a copy of several
  // runs may read what it has written.
  DmaResult copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  DmaResult fill(std::uint64_t to, std::byte value, std::uint64_t bytes);
  DmaResult fill(std::span<const DmaSegment> to, std::byte value);
  // `order` is negative, zero or positive, as memcmp's; it covers the `done` bytes.
  DmaResult compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes, int& order);
  // The list with a buffer of the host's; the shorter of the two.
  DmaResult compare(std::span<const DmaSegment> a, std::span<const std::byte> b, int& order);

  // Typed access in host byte order, single-copy atomic where naturally aligned. Where an
  // unaligned word lies in two runs, `done` counts the bytes of it that were stored.
  //
  // Errors:  in the result; `value` is written only on success.
  template <vm_mem::GuestWord T>
  DmaResult load(std::uint64_t address, T& value,
                 std::memory_order order = std::memory_order_relaxed) {
    std::uint64_t bits = 0;
    const DmaResult result = load_bits(address, sizeof(T), bits, order);
    if (result.ok()) value = vm_mem::word_from_bits<T>(bits);
    return result;
  }
  template <vm_mem::GuestWord T>
  DmaResult store(std::uint64_t address, T value,
                  std::memory_order order = std::memory_order_relaxed) {
    return store_bits(address, sizeof(T), vm_mem::word_to_bits(value), order);
  }

  // Each stores a new value and gives the old one in `previous`. Behind an IOMMU the page
  // has to be readable and writable.
  //
  // Errors:  kMisaligned where not naturally aligned, kProtected of a device.
  template <vm_mem::GuestWord T>
  DmaResult exchange(std::uint64_t address, T desired, T& previous) {
    return modify(address, vm_mem::WordOperation::kExchange, desired, previous);
  }
  template <std::integral T>
  DmaResult fetch_add(std::uint64_t address, T operand, T& previous) {
    return modify(address, vm_mem::WordOperation::kAdd, operand, previous);
  }
  template <std::integral T>
  DmaResult fetch_or(std::uint64_t address, T operand, T& previous) {
    return modify(address, vm_mem::WordOperation::kOr, operand, previous);
  }
  template <std::integral T>
  DmaResult fetch_and(std::uint64_t address, T operand, T& previous) {
    return modify(address, vm_mem::WordOperation::kAnd, operand, previous);
  }
  template <std::integral T>
  DmaResult fetch_xor(std::uint64_t address, T operand, T& previous) {
    return modify(address, vm_mem::WordOperation::kXor, operand, previous);
  }
  // Stores `desired` where the value equals `expected`, which becomes the value that was
  // found. `exchanged` says whether it was stored. Never fails spuriously.
  template <vm_mem::GuestWord T>
  DmaResult compare_exchange(std::uint64_t address, T& expected, T desired, bool& exchanged) {
    std::uint64_t found = vm_mem::word_to_bits(expected);
    const DmaResult result =
        compare_exchange_bits(address, sizeof(T), found, vm_mem::word_to_bits(desired), exchanged);
    if (result.ok()) expected = vm_mem::word_from_bits<T>(found);
    return result;
  }

  // Gives host bytes that stand for [address, address + bytes): the guest's own where they
  // are RAM in one piece of the host's, else a copy. A copy is read now where the device
  // reads, is zeros where it only writes, and is written back by unmap().
  //
  // Errors:  kInvalidArgument    empty, or past 2^64
  //          kNotFound           nothing is there at some byte
  //          kPermissionDenied   the memory or the IOMMU does not permit it
  //          kUnavailable        a device refused to be read
  //          kResourceExhausted  copies of more than kMaxBounceBytes at a time
  //          The message has the address of the first byte that cannot be had.
  // Cost:    a few allocations; the copy where there is one.
  absl::StatusOr<DmaMapping> map(std::uint64_t address, std::uint64_t bytes,
                                 DmaDirection direction);
  // Ends it: what the device wrote, the first `written` bytes (all: without it), is in
  // guest memory and marked dirty when the call returns. A copy is written back where the
  // IOMMU has the addresses now.
  //
  // Errors:  in the result; the mapping is ended all the same. kNotMapped: it is not one of
  //          this space's, or has been unmapped.
  DmaResult unmap(const DmaMapping& mapping);
  DmaResult unmap(const DmaMapping& mapping, std::uint64_t written);
  // Mappings that nobody has unmapped.
  std::uint64_t outstanding_maps() const;

  // Of one space at a time: the guest decides on the lengths.
  static constexpr std::uint64_t kMaxBounceBytes = std::uint64_t{64} << 20;

 private:
  friend class internal::RingMemory;  // of direct_
  friend class AsyncDma;
  friend class internal::DmaPieces;

  template <vm_mem::GuestWord T>
  DmaResult modify(std::uint64_t address, vm_mem::WordOperation operation, T operand, T& previous) {
    std::uint64_t bits = 0;
    const DmaResult result =
        modify_bits(address, sizeof(T), operation, vm_mem::word_to_bits(operand), bits);
    if (result.ok()) previous = vm_mem::word_from_bits<T>(bits);
    return result;
  }

  DmaResult load_bits(std::uint64_t address, unsigned bytes, std::uint64_t& bits,
                      std::memory_order order);
  DmaResult store_bits(std::uint64_t address, unsigned bytes, std::uint64_t bits,
                       std::memory_order order);
  DmaResult modify_bits(std::uint64_t address, unsigned bytes, vm_mem::WordOperation operation,
                        std::uint64_t operand, std::uint64_t& previous);
  DmaResult compare_exchange_bits(std::uint64_t address, unsigned bytes, std::uint64_t& expected,
                                  std::uint64_t desired, bool& exchanged);

  DmaResult read(internal::DmaTransfer& transfer, const DmaSegment& from, std::byte* to);
  DmaResult write(internal::DmaTransfer& transfer, const DmaSegment& to, const std::byte* from);
  DmaResult fill(internal::DmaTransfer& transfer, const DmaSegment& to, std::byte value);

  absl::Status back(internal::DmaTransfer& transfer, internal::HeldMapping& held,
                    const DmaSegment& range, const GuestSegment& whole);

  // Behind an IOMMU, what needs no look into its tables. False: nothing was done.
  bool read_in_mind(std::uint64_t address, std::span<std::byte> to);
  bool write_in_mind(std::uint64_t address, std::span<const std::byte> from);
  DmaResult read_in_transfer(std::uint64_t address, std::span<std::byte> to);
  DmaResult write_in_transfer(std::uint64_t address, std::span<const std::byte> from);
  template <typename Buffer, typename Move>
  std::size_t lead_of(std::span<const DmaSegment> list, Buffer& buffer, DmaAccess access,
                      Move move);
  internal::DmaMemory memory() const;
  template <typename Try>
  bool done_at_once(const DmaSegment& range, DmaAccess access, Try attempt);

  vm_mem::MemoryManager* memory_;
  vm_mem::MemoryReader* reader_ = nullptr;
  vm_mem::MemoryReader* direct_ = nullptr;  // the same, where bus addresses are the guest's
  internal::IommuPort* port_ = nullptr;
  internal::IommuPort* quick_port_ = nullptr;  // the same, on a reader
  const vm_mem::MmioHandler* initiator_;
  std::shared_ptr<internal::DmaMappings> mappings_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_H_
