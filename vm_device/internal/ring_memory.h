// How the fields of a virtqueue are reached: by host pointers where its rings are plain
// RAM that a MemoryReader sees, else each by DMA. Two paths with the same members.
#ifndef VM_DEVICE_INTERNAL_RING_MEMORY_H_
#define VM_DEVICE_INTERNAL_RING_MEMORY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm_device/dma.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_mem/guest_word.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

enum class RingPart : unsigned { kDescriptors, kDriver, kDevice };
inline constexpr std::size_t kRingParts = 3;

struct RingRange {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 1;  // of its words
  DmaAccess access = DmaAccess::kRead;
};
using RingRanges = std::array<RingRange, kRingParts>;

class RingMemory {
 public:
  explicit RingMemory(DmaSpace& dma) : dma_(&dma), reader_(dma.direct_) {}

  // Needs:  each range ends below 2^64.
  void bind(const RingRanges& ranges);

  DmaSpace& dma() const { return *dma_; }

  // Whether DirectPath may be used, until anything else reaches guest memory by the same
  // reader. So a call asks once, and a chain that goes on in an indirect table is at
  // its end here.
  bool is_direct() {
    if (reader_ == nullptr) return false;
    if (reader_->is_current(stamp_)) [[likely]]
      return direct_;
    return renew();
  }

 private:
  friend class DirectPath;
  friend class DmaPath;

  // The host's bytes of a part, and the marks of their pages.
  struct Window {
    std::byte* host = nullptr;
    const std::atomic<std::uint8_t>* marks = nullptr;  // of the first page
    std::uint64_t marks_mask = 0;
    std::uint64_t page_offset = 0;  // of the part in its first page
    const vm_mem::MapSlot* slot = nullptr;
    std::uint64_t slot_offset = 0;

    bool is_marked(std::uint64_t offset) const {
      std::atomic_signal_fence(std::memory_order_seq_cst);  // the store comes first
      const std::uint64_t page = (page_offset + offset) / vm_mem::kGuestPageBytes;
      return marks[page & marks_mask].load(std::memory_order_relaxed) != 0;
    }
  };

  bool renew();
  bool open(const RingRange& range, Window& window) const;
  static void mark_first(const Window& window, std::uint64_t offset);

  const Window& window(RingPart part) const { return windows_[static_cast<unsigned>(part)]; }
  std::uint64_t address(RingPart part) const {
    return ranges_[static_cast<unsigned>(part)].address;
  }

  DmaSpace* dma_;
  vm_mem::MemoryReader* reader_;
  vm_mem::MemoryReader::Stamp stamp_;
  bool direct_ = false;
  std::array<Window, kRingParts> windows_;
  RingRanges ranges_;
};

// Both paths: each word is naturally aligned and accessed once, in one piece; false where it
// cannot be reached. Offsets are from the beginning of the part.
class DirectPath {
 public:
  // Needs:  memory.is_direct().
  explicit DirectPath(const RingMemory& memory) : memory_(memory) {}

  template <typename Word>
  bool load(RingPart part, std::uint64_t offset, Word& value, std::memory_order order) const {
    value = little_endian(vm_mem::load_host_word<Word>(memory_.window(part).host + offset, order));
    return true;
  }
  template <typename Word>
  bool store(RingPart part, std::uint64_t offset, Word value, std::memory_order order) const {
    const RingMemory::Window& window = memory_.window(part);
    vm_mem::store_host_word(window.host + offset, little_endian(value), order);
    if (!window.is_marked(offset)) [[unlikely]]
      RingMemory::mark_first(window, offset);
    return true;
  }
  bool load_descriptor(std::uint64_t index, Descriptor& descriptor) const {
    const std::uint64_t at = index * kDescriptorBytes;
    constexpr auto kPart = RingPart::kDescriptors;
    return load(kPart, at, descriptor.address, std::memory_order_relaxed) &&
           load(kPart, at + 8, descriptor.rest, std::memory_order_relaxed);
  }

 private:
  const RingMemory& memory_;
};

class DmaPath {
 public:
  explicit DmaPath(const RingMemory& memory) : memory_(memory) {}

  template <typename Word>
  bool load(RingPart part, std::uint64_t offset, Word& value, std::memory_order order) const {
    Word raw{};
    if (!memory_.dma().load(memory_.address(part) + offset, raw, order).ok()) return false;
    value = little_endian(raw);
    return true;
  }
  template <typename Word>
  bool store(RingPart part, std::uint64_t offset, Word value, std::memory_order order) const {
    return memory_.dma().store(memory_.address(part) + offset, little_endian(value), order).ok();
  }
  bool load_descriptor(std::uint64_t index, Descriptor& descriptor) const {
    std::array<std::byte, kDescriptorBytes> copy;
    const std::uint64_t at = memory_.address(RingPart::kDescriptors) + index * kDescriptorBytes;
    if (!memory_.dma().read(at, copy).ok()) return false;
    descriptor = Descriptor::decode(copy.data());
    return true;
  }

 private:
  const RingMemory& memory_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_MEMORY_H_
