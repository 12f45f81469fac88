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
#include <vector>

#include "vm_device/internal/packed_journal.h"
#include "vm_device/internal/quick_chain.h"
#include "vm_device/internal/ring_core.h"

namespace vm_device::internal {

// The members are those of Virtqueue.
class PackedRing : public RingCore {
 public:
  explicit PackedRing(DmaSpace& dma) : RingCore(dma) {}

  VirtqueueError enable(const VirtqueueConfig& config);
  VirtqueueState state() const {
    return {counted(available_at_, available_turn_ == kPackedAvailable),
            counted(used_at_, used_flags_ != 0)};
  }
  bool is_idle() const {
    return !is_enabled() || (bytes_in_use() == 0 && (!has_again() || waits_));
  }

  PopStatus pop(DescriptorChain& chain);
  VirtqueueError push(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError stage(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError publish();
  bool wants_interrupt();
  void suppress_notifications();
  bool resume_notifications();

 private:
  // Flags: what a descriptor is, and whose.
  static constexpr unsigned kKinds = kDescriptorNext | kDescriptorWrite | kDescriptorIndirect;
  static constexpr unsigned kTurns = kPackedAvailable | kPackedUsed;

  template <unsigned kTaken, unsigned kWriteFlag>
  PopStatus walk(const std::byte* first, unsigned kind, QuickChain buffers, DescriptorChain& chain);
  template <unsigned kTaken>
  static bool put(const std::byte* first, QuickChain& buffers);
  template <unsigned kTaken>
  static unsigned kind_of(const std::byte* first);
  template <unsigned kTaken, unsigned kWriteFlag>
  PopStatus accept_quickly(const std::byte* first, QuickChain buffers, DescriptorChain& chain);
  PopStatus walk_on(DescriptorChain& chain);
  PopStatus pop_slowly(DescriptorChain& chain);
  PopStatus pop_again(DescriptorChain& chain);
  VirtqueueError push_slowly(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError mark_used(std::uint64_t at) const;
  // Where the word lies that tells the driver that a request is used.
  static std::uint64_t used_offset(std::uint32_t position) {
    return position * kDescriptorBytes + kDescriptorLength;
  }
  bool is_available(std::uint32_t rest) const { return (rest >> 16 & kTurns) == available_turn_; }

  template <typename Path>
  PopStatus pop_on(Path path, DescriptorChain& chain);
  PopStatus pop_noted(DescriptorChain& chain);
  PopStatus outcome(VirtqueueError error) {
    if (waits_) return PopStatus::kEmpty;
    return error == VirtqueueError::kNone ? PopStatus::kChain : stop(error);
  }
  template <typename Path>
  VirtqueueError take(Path path, Descriptor it, DescriptorChain& chain);
  VirtqueueError take_indirect(Descriptor reference, DescriptorChain& chain);
  VirtqueueError accept(std::uint32_t id, std::uint32_t descriptors, DescriptorChain& chain);
  // Whether the device is to take descriptors of the lap after the one in which it gives back.
  bool is_lap_ahead() const { return (available_turn_ == kPackedAvailable) != (used_flags_ != 0); }
  // Taken by the device.
  std::uint32_t bytes_in_use() const {
    return available_at_ - used_at_ + (is_lap_ahead() ? ring_bytes_ : 0);
  }
  bool has_again() const { return journal_ != nullptr && journal_->has_again(); }
  void find_quick_end();
  void advance_available(std::uint32_t bytes);
  void advance_used(std::uint32_t bytes);
  static std::uint16_t position_of(std::uint32_t bytes) {
    return static_cast<std::uint16_t>(bytes / kDescriptorBytes);
  }
  static std::uint16_t counted(std::uint32_t bytes, bool wrap) {
    return static_cast<std::uint16_t>(position_of(bytes) | (wrap ? kPackedWrap : 0));
  }
  static constexpr std::uint32_t bytes_of(std::uint32_t descriptors) {
    return static_cast<std::uint32_t>(descriptors * kDescriptorBytes);
  }
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
    return running_ && is_ours(chain) && ring_bytes_of(chain) <= bytes_in_use();
  }
  void stage_in_order();
  void end_run();
  void stage_word(std::uint16_t at, std::uint64_t word);
  VirtqueueError stage_noted(const DescriptorChain& chain, std::uint32_t written);
  void stage_noted(const Completion& request);
  VirtqueueError publish_noted();

  // Bytes of the ring: where the next available and the next used descriptor lie.
  std::uint32_t available_at_ = 0;
  std::uint32_t used_at_ = 0;
  std::uint32_t ring_bytes_ = 0;
  // Before it QuickChain::kMost descriptors can be taken, and one is left before the end of
  // the ring or the first that the device has. Those it has grow fewer unnoticed.
  std::uint32_t quick_end_ = 0;
  // The turn of a descriptor that is available; that of a used one as it lies in `rest`.
  unsigned available_turn_ = kPackedAvailable;
  std::uint32_t used_flags_ = kTurns << 16;
  std::uint32_t staged_ = 0;  // bytes whose requests the driver does not see used yet
  bool has_first_ = false;    // of what is staged: written last
  std::uint16_t first_at_ = 0;
  std::uint64_t first_word_ = 0;
  // With a journal each request has a word of its own, and none is written before those ahead of
  // it: what the driver sees is always what the journal says, or one request more.
  struct Noted {
    std::uint16_t at;
    std::uint16_t end;  // where the device stands then
    std::uint16_t note;
    std::uint64_t word;
  };
  PackedJournal* journal_ = nullptr;
  std::vector<Noted> noted_;
  UsedRun run_;
  std::uint32_t run_flags_ = 0;  // used_flags_ where it began
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_PACKED_RING_H_
