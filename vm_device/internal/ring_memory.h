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
  explicit RingMemory(DmaSpace& dma);

  // Needs:  no range runs past 2^64.
  void bind(const RingRanges& ranges);

  DmaSpace& dma() const { return *dma_; }

  // Whether DirectPath may be used, until anything else reaches guest memory by the same
  // reader. So a call asks once, and a chain that goes on in an indirect table is at
  // its end here.
  bool is_direct() {
    if (reader_ == nullptr) return false;
    return reader_->changes().load(std::memory_order_acquire) == seen_ ? direct_ : renew();
  }
  // The same by one comparison, from speed_up() to slow_down() or the next change.
  bool is_quick() const { return changes_->load(std::memory_order_acquire) == quick_; }
  void speed_up() { quick_ = is_direct() ? seen_ : kNever; }
  void slow_down() { quick_ = kNever; }

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
    bool in_one_page = false;

    bool is_page_marked(std::uint64_t page) const {
      return marks[page & marks_mask].load(std::memory_order_relaxed) == vm_mem::kMarkedByte;
    }
    // Of what is in the page where the part begins.
    bool is_first_page_marked() const {
      return marks->load(std::memory_order_relaxed) == vm_mem::kMarkedByte;
    }
    // Needs:  no more than a page.
    bool are_marked(std::uint64_t offset, std::uint64_t bytes) const {
      std::atomic_signal_fence(std::memory_order_seq_cst);  // the store comes first
      if (in_one_page) return is_first_page_marked();
      const std::uint64_t last = page_offset + offset + bytes - 1;
      const std::uint64_t page = last / vm_mem::kGuestPageBytes;
      if (last % vm_mem::kGuestPageBytes < bytes - 1 && !is_page_marked(page - 1)) [[unlikely]]
        return false;
      return is_page_marked(page);
    }
  };

  bool renew();
  bool open(const RingRange& range, Window& window) const;
  static void mark(const Window& window, std::uint64_t offset, std::uint64_t bytes);

  const Window& window(RingPart part) const { return windows_[static_cast<unsigned>(part)]; }
  std::uint64_t address(RingPart part) const {
    return ranges_[static_cast<unsigned>(part)].address;
  }

  static constexpr std::uint64_t kNever = UINT64_MAX;

  const std::atomic<std::uint64_t>* changes_;  // the reader's, or of nobody
  std::uint64_t quick_ = kNever;               // they, where windows_ may be used
  std::uint64_t seen_ = kNever;                // they, at the last renew()
  bool direct_ = false;                        // what that gave
  DmaSpace* dma_;
  vm_mem::MemoryReader* reader_;
  std::array<Window, kRingParts> windows_;
  RingRanges ranges_;
};

// Both paths: each word is naturally aligned and accessed once, in one piece; false where it
// cannot be reached. Offsets are from the beginning of the part.
class DirectPath {
 public:
  // Needs:  memory.is_direct().
  explicit DirectPath(const RingMemory& memory)
      : memory_(memory), descriptors_(memory.window(RingPart::kDescriptors).host) {}

  template <typename Word>
  bool load(RingPart part, std::uint64_t offset, Word& value, std::memory_order order) const {
    const std::byte* const host =
        part == RingPart::kDescriptors ? descriptors_ : memory_.window(part).host;
    value = little_endian(vm_mem::load_host_word<Word>(host + offset, order));
    return true;
  }
  template <typename Word>
  bool store(RingPart part, std::uint64_t offset, Word value, std::memory_order order) const {
    put(host(part) + offset, value, order);
    if (!are_marked(part, offset, sizeof value)) mark(part, offset, sizeof value);
    return true;
  }
  // The halves of a store, for several at a time: loads and stores at what host() gives, then
  // marks.
  std::byte* host(RingPart part) const { return memory_.window(part).host; }
  template <typename Word>
  static Word get(const std::byte* host, std::memory_order order) {
    return little_endian(vm_mem::load_host_word<Word>(host, order));
  }
  template <typename Word>
  static void put(std::byte* host, Word value, std::memory_order order) {
    vm_mem::store_host_word(host, little_endian(value), order);
  }
  bool are_marked(RingPart part, std::uint64_t offset, std::uint64_t bytes) const {
    return memory_.window(part).are_marked(offset, bytes);
  }
  // The same, and those of the first word.
  bool are_marked_with_first(RingPart part, std::uint64_t offset, std::uint64_t bytes) const {
    const RingMemory::Window& window = memory_.window(part);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the store comes first
    return window.is_first_page_marked() &&
           (window.in_one_page || window.are_marked(offset, bytes));
  }
  void mark(RingPart part, std::uint64_t offset, std::uint64_t bytes) const {
    RingMemory::mark(memory_.window(part), offset, bytes);
  }
  bool load_descriptor(std::uint64_t index, Descriptor& descriptor) const {
    return load_descriptor_at(index * kDescriptorBytes, descriptor);
  }
  bool load_descriptor_at(std::uint64_t offset, Descriptor& descriptor) const {
    return load(RingPart::kDescriptors, offset + kDescriptorRest, descriptor.rest,
                std::memory_order_relaxed) &&
           load_buffer_at(offset, descriptor);
  }
  // Of a descriptor, without `rest`.
  bool load_buffer_at(std::uint64_t offset, Descriptor& descriptor) const {
    return load(RingPart::kDescriptors, offset, descriptor.address, std::memory_order_relaxed) &&
           load(RingPart::kDescriptors, offset + kDescriptorLength, descriptor.bytes,
                std::memory_order_relaxed);
  }

 private:
  const RingMemory& memory_;
  std::byte* descriptors_;  // for loops
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
  bool load_buffer_at(std::uint64_t offset, Descriptor& descriptor) const {
    return load(RingPart::kDescriptors, offset, descriptor.address, std::memory_order_relaxed) &&
           load(RingPart::kDescriptors, offset + kDescriptorLength, descriptor.bytes,
                std::memory_order_relaxed);
  }

 private:
  const RingMemory& memory_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_MEMORY_H_
