// A split virtqueue: a table of descriptors, a ring of available heads, a ring of used ones.
//
// Source:  virtio 1.2, section 2.7.
#ifndef VM_DEVICE_INTERNAL_SPLIT_RING_H_
#define VM_DEVICE_INTERNAL_SPLIT_RING_H_

#include <cstdint>
#include <vector>

#include "vm_device/internal/quick_chain.h"
#include "vm_device/internal/request_journal.h"
#include "vm_device/internal/ring_core.h"

namespace vm_device::internal {

// The members are those of Virtqueue.
class SplitRing : public RingCore {
 public:
  explicit SplitRing(DmaSpace& dma) : RingCore(dma) {}

  VirtqueueError enable(const VirtqueueConfig& config);
  VirtqueueState state() const { return {next_available_, next_used_}; }
  bool is_idle() const {
    const std::size_t out = static_cast<std::uint16_t>(next_available_ - next_used_);
    return !is_enabled() || out == (waits_ ? taken_before_.size() : 0);
  }

  PopStatus pop(DescriptorChain& chain);
  VirtqueueError push(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError stage(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError publish();
  bool wants_interrupt();
  void suppress_notifications();
  bool resume_notifications();

 private:
  template <unsigned kTaken, unsigned kWriteFlag>
  PopStatus walk(std::uint16_t head, Descriptor it, QuickChain buffers, DescriptorChain& chain);
  template <unsigned kTaken, unsigned kWriteFlag>
  PopStatus accept(std::uint16_t head, QuickChain buffers, DescriptorChain& chain);
  PopStatus walk_on(std::uint16_t head, std::uint32_t next, DescriptorChain& chain);
  PopStatus pop_slowly(DescriptorChain& chain);
  PopStatus pop_again(DescriptorChain& chain);
  VirtqueueError push_slowly(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError mark_used(std::uint64_t entry) const;
  template <typename Path>
  PopStatus pop_on(Path path, DescriptorChain& chain);
  template <typename Path>
  PopStatus pop_head(Path path, std::uint16_t head, DescriptorChain& chain);
  template <typename Path>
  PopStatus look(Path path);
  template <typename Path>
  VirtqueueError take(Path path, std::uint16_t head, DescriptorChain& chain);
  VirtqueueError take_indirect(Descriptor reference, DescriptorChain& chain);
  template <typename Path>
  bool write_entry(Path path, std::uint16_t at, std::uint32_t id, std::uint32_t written);
  template <typename Path>
  void publish_on(Path path);
  // A driver has at most as many requests out as the queue has descriptors, those included
  // that the device has taken.
  bool may_be_available(std::uint16_t available) const {
    const auto ahead = static_cast<std::uint16_t>(available - next_available_);
    const auto taken = static_cast<std::uint16_t>(next_available_ - next_used_);
    return std::uint32_t{ahead} + taken <= size_;
  }
  bool can_take_back(const DescriptorChain& chain) const {
    const auto taken = static_cast<std::uint16_t>(next_available_ - next_used_);
    return running_ && is_ours(chain) && taken != taken_before_.size();
  }
  void stage_in_order();
  bool end_run();

  std::uint16_t available_ = 0;       // the driver's index, as last read
  std::uint16_t next_available_ = 0;  // of the ring entry to take
  std::uint16_t next_used_ = 0;       // of the ring entry to fill
  std::uint32_t slot_mask_ = 0;       // of an index
  std::uint32_t staged_ = 0;          // requests that the driver does not see used yet
  UsedRun run_;
  RequestJournal* journal_ = nullptr;
  std::vector<std::uint16_t> taken_before_;  // what is left of it, the next one last
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_SPLIT_RING_H_
