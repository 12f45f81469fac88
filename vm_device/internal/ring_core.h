// What split and packed rings have in common: the state of the queue, indirect tables.
#ifndef VM_DEVICE_INTERNAL_RING_CORE_H_
#define VM_DEVICE_INTERNAL_RING_CORE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vm_device/internal/chain_writer.h"
#include "vm_device/internal/ring_memory.h"
#include "vm_device/internal/ring_order.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtqueue.h"

namespace vm_device::internal {

class RingCore {
 public:
  bool is_enabled() const { return enabled_; }
  VirtqueueError error() const { return error_; }
  VirtqueueError fail(VirtqueueError error);
  void reset();

  // Of the life between two resets. Chains remember it, so it goes on rising when one form of
  // ring replaces the other.
  std::uint32_t epoch() const { return epoch_; }

 protected:
  RingCore(DmaSpace& dma, std::uint32_t epoch) : memory_(dma), epoch_(epoch) {}

  // After what the form has to judge. Sizes are those of the parts as far as the
  // features need them.
  VirtqueueError start(const VirtqueueConfig& config, const RingRanges& ranges);

  bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }
  PopStatus stop(VirtqueueError error) {
    fail(error);
    return PopStatus::kError;
  }
  // What pop() says while the queue does not run.
  PopStatus at_rest() const {
    return error_ == VirtqueueError::kNone ? PopStatus::kEmpty : PopStatus::kError;
  }
  bool unreachable() {
    fail(VirtqueueError::kRingUnreachable);
    return false;
  }

  // A chain whose segments are complete.
  void sign(DescriptorChain& chain, std::uint16_t id, std::uint16_t descriptors) {
    chain.head_ = id;
    chain.descriptors_ = descriptors;
    chain.epoch_ = epoch_;
    if (in_order_) [[unlikely]]
      chain.turn_ = order_.take();
  }
  bool is_ours(const DescriptorChain& chain) const { return chain.epoch_ == epoch_; }
  static std::uint16_t descriptors_of(const DescriptorChain& chain) { return chain.descriptors_; }
  void put_in_order(const DescriptorChain& chain, std::uint32_t written);

  // Copies a table of descriptors to table(), before any of it is judged. Its own WRITE
  // flag means nothing.
  VirtqueueError read_table(const Descriptor& reference, std::uint32_t& count);
  Descriptor table(std::uint32_t index) const {
    return Descriptor::decode(&table_[index * kDescriptorBytes]);
  }

  // Calls `use` with the path to the rings that is the quickest of those that work.
  template <typename Use>
  auto on_path(Use use) {
    return memory_.is_direct() ? use(DirectPath(memory_)) : use(DmaPath(memory_));
  }

  RingMemory memory_;
  bool running_ = false;  // enabled and without error
  bool enabled_ = false;
  bool in_order_ = false;
  VirtqueueError error_ = VirtqueueError::kNone;
  std::uint16_t size_ = 0;
  std::uint32_t epoch_;
  std::uint32_t unsignalled_ = 0;  // what was published since the last wants_interrupt()
  std::uint64_t features_ = 0;
  RingOrder order_;

 private:
  std::vector<std::byte> table_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_CORE_H_
