// What split and packed rings have in common: the state of the queue, indirect tables.
#ifndef VM_DEVICE_INTERNAL_RING_CORE_H_
#define VM_DEVICE_INTERNAL_RING_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "vm_device/internal/bus_translations.h"
#include "vm_device/internal/chain_writer.h"
#include "vm_device/internal/quick_chain.h"
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
  void pause();

 protected:
  static constexpr std::uint64_t kNoEpoch = UINT64_MAX;

  explicit RingCore(DmaSpace& dma) : memory_(dma) {}

  // After what the form has to judge. Sizes are those of the parts as far as the
  // features need them.
  VirtqueueError start(const VirtqueueConfig& config, const RingRanges& ranges);

  bool is_taking() const { return running_ && !paused_; }
  bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }
  PopStatus stop(VirtqueueError error) {
    fail(error);
    return PopStatus::kError;
  }
  bool unreachable() {
    fail(VirtqueueError::kRingUnreachable);
    return false;
  }

  // Leaves in a chain nothing that could be pushed.
  static PopStatus forget(DescriptorChain& chain, PopStatus status);
  // A chain whose segments are complete; of a queue in order it takes its turn, too.
  // `name` is the ID, of a packed ring with the WRITE flag if there are writable buffers.
  void sign(DescriptorChain& chain, std::uint32_t name) const {
    chain.name_ = name;
    chain.epoch_ = epoch_;
  }
  static void set_ring_bytes(DescriptorChain& chain, std::uint32_t bytes) {
    chain.ring_bytes_ = bytes;
  }
  static void set_note(DescriptorChain& chain, std::uint16_t note) { chain.note_ = note; }
  static std::uint16_t note_of(const DescriptorChain& chain) { return chain.note_; }
  void take_turn(DescriptorChain& chain) {
    if (in_order_) chain.turn_ = order_.take();
  }
  // Before pop() goes the long way. The short one is for queues in no order, and knows no
  // chain that is longer than the queue.
  void prepare_quick_path() {
    if (!in_order_ && size_ >= QuickChain::kMost) memory_.speed_up();
  }
  // All that this thread did before comes before all that it does after, for the guest too.
  // Not std::atomic_thread_fence(), of which g++ warns where ThreadSanitizer is on.
  static void full_barrier() { __sync_synchronize(); }
  bool is_ours(const DescriptorChain& chain) const { return chain.epoch_ == epoch_; }
  // Nor has push() anything to do but to tell of this request.
  bool is_ours_alone(const DescriptorChain& chain) const { return chain.epoch_ == alone_; }
  // Of a packed ring.
  static std::uint32_t ring_bytes_of(const DescriptorChain& chain) { return chain.ring_bytes_; }
  static std::uint32_t name_of(const DescriptorChain& chain) { return chain.name_; }
  void put_in_order(const DescriptorChain& chain, std::uint32_t written);

  // If DMA to all of its segments has its answer they are held until the release. If not, waits_
  // is set: the request is not to be taken yet.
  VirtqueueError hold(const DescriptorChain& chain) {
    return translations_ == nullptr ? VirtqueueError::kNone : try_hold(chain);
  }
  void release(const DescriptorChain& chain) {
    if (translations_ != nullptr) translations_->release(chain);
  }

  // Copies a table of descriptors to table(), before any of it is judged. Its own WRITE
  // flag means nothing. Where it has to wait for its translation waits_ is set with the error.
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
  bool paused_ = false;
  bool in_order_ = false;
  bool waits_ = false;  // what pop() has found last is for translations to come
  VirtqueueError error_ = VirtqueueError::kNone;
  std::uint16_t size_ = 0;
  // Of the chains taken since enable(): no queue of this process gives the same again.
  std::uint64_t epoch_ = kNoEpoch;
  std::uint64_t alone_ = kNoEpoch;  // epoch_, where nothing is staged and order is free
  // What was published since the last wants_interrupt(): requests, or (packed) bytes of the ring.
  std::uint32_t unsignalled_ = 0;
  std::uint64_t features_ = 0;
  RingOrder order_;

 private:
  bool make_room();
  VirtqueueError try_hold(const DescriptorChain& chain);

  BusTranslations* translations_ = nullptr;
  std::unique_ptr<std::byte[]> table_;  // with kFeatureRingIndirect
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_CORE_H_
