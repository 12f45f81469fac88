// A packed virtqueue: one ring of descriptors, which the device turns from available into
// used, and two words of event suppression.
//
// A descriptor is told available or used by two of its flags and a wrap counter, which
// each side toggles as it passes the end of the ring. The flags lie in one word with the
// length and the ID, so that what says that a request is there is what names it.
//
// Source:  virtio 1.2, section 2.8.
#ifndef VM_DEVICE_INTERNAL_PACKED_RING_H_
#define VM_DEVICE_INTERNAL_PACKED_RING_H_

#include <cstdint>

#include "vm_device/internal/ring_core.h"

namespace vm_device::internal {

// The members are those of Virtqueue.
class PackedRing : public RingCore {
 public:
  explicit PackedRing(DmaSpace& dma) : RingCore(dma) {}

  VirtqueueError enable(const VirtqueueConfig& config);
  VirtqueueState state() const;
  bool is_idle() const { return !is_enabled() || in_use_ == 0; }

  PopStatus pop(DescriptorChain& chain);
  VirtqueueError push(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError stage(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError publish();
  bool wants_interrupt();
  void suppress_notifications();
  bool resume_notifications();

 private:
  enum class Walk { kComplete, kOtherFlags, kOdd };
  // A descriptor of which `rest` was read; what is made of it goes past it.
  struct Place {
    const std::byte* descriptor;
    std::uint32_t rest;
  };
  // Flags in `rest`.
  static constexpr std::uint32_t kNextKind = std::uint32_t{kDescriptorNext} << 16;
  static constexpr std::uint32_t kKinds =
      std::uint32_t{kDescriptorNext | kDescriptorWrite | kDescriptorIndirect} << 16;

  template <unsigned kWriteFlag>
  static Walk walk(const std::byte* end, Place& at, ChainWriter& writer);
  static bool put(Place& at, ChainWriter& writer);
  PopStatus accept_quickly(const Place& at, std::uint16_t write_flag, ChainWriter& writer,
                           DescriptorChain& chain);
  void wrap_available() {
    next_available_ = 0;
    available_flags_ ^= kBothFlags;
  }
  PopStatus pop_slowly(DescriptorChain& chain);
  PopStatus pop_again(DescriptorChain& chain);
  VirtqueueError push_slowly(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError mark_used(std::uint64_t offset) const;
  // The two flags of an available descriptor, and those of a used one, where the wrap
  // counter is 1; where it is 0 they are all the other way round.
  static constexpr std::uint32_t kAvailableFlag = std::uint32_t{kPackedAvailable} << 16;
  static constexpr std::uint32_t kUsedFlag = std::uint32_t{kPackedUsed} << 16;
  static constexpr std::uint32_t kBothFlags = kAvailableFlag | kUsedFlag;

  // Where the word lies that tells the driver that a request is used.
  static std::uint64_t used_offset(std::uint64_t index) {
    return index * kDescriptorBytes + kDescriptorLength;
  }
  bool is_available(std::uint32_t rest) const { return (rest & kBothFlags) == available_flags_; }

  template <typename Path>
  PopStatus pop_on(Path path, DescriptorChain& chain);
  template <typename Path>
  VirtqueueError take(Path path, Descriptor it, DescriptorChain& chain);
  VirtqueueError take_indirect(Descriptor reference, DescriptorChain& chain);
  VirtqueueError accept(std::uint32_t id, std::uint32_t descriptors, DescriptorChain& chain);
  void advance_available(std::uint32_t descriptors);
  void advance_used(std::uint32_t descriptors);
  // The word that tells the driver of a request. Of one with writable buffers WRITE says that
  // the length means something, be it 0.
  static std::uint64_t used_word(std::uint32_t id_and_flags, std::uint32_t written) {
    return written | std::uint64_t{id_and_flags} << 32;
  }
  // The position of the first descriptor that the driver does not see used.
  std::uint16_t published() const;
  template <typename Path>
  bool publish_on(Path path, std::uint16_t at, std::uint64_t word);
  bool can_take_back(const DescriptorChain& chain) const {
    return running_ && is_ours(chain) && descriptors_of(chain) <= in_use_;
  }
  void stage_in_order();
  void end_run();
  void stage_word(std::uint16_t at, std::uint64_t word);

  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  // As they lie in `rest`: of a descriptor that is available, and to give to one that is used.
  std::uint32_t available_flags_ = kAvailableFlag;
  std::uint32_t used_flags_ = kBothFlags;
  std::uint16_t in_use_ = 0;  // descriptors that the device has taken
  std::uint32_t staged_ = 0;  // descriptors that the driver does not see used yet
  bool has_first_ = false;    // of what is staged: written last
  std::uint16_t first_at_ = 0;
  std::uint64_t first_word_ = 0;
  UsedRun run_;
  std::uint32_t run_flags_ = 0;  // used_flags_ where it began
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_PACKED_RING_H_
