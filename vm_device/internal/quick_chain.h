// Fills a DescriptorChain with a few ordinary buffers. Which of them one is is known to the
// compiler, so that each has a fixed place and nothing is counted but bytes.
#ifndef VM_DEVICE_INTERNAL_QUICK_CHAIN_H_
#define VM_DEVICE_INTERNAL_QUICK_CHAIN_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "vm_device/descriptor_chain.h"
#include "vm_device/internal/chain_writer.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device::internal {

class QuickChain {
 public:
  static constexpr unsigned kMost = 4;
  static_assert(kMost <= ChainWriter::kLeastRoom);

  explicit QuickChain(DescriptorChain& chain) : chain_(chain), out_(chain.segments_.data()) {}

  // For kMost buffers. A chain has it that has it for one.
  bool has_room() const { return out_ != std::to_address(chain_.segments_.end()); }

  // Needs:  has_room().
  // False: a buffer that is empty or reaches 2^64; the chain is then to be written anew.
  template <unsigned kIndex>
  bool try_put(std::uint64_t address, std::uint32_t bytes) {
    static_assert(kIndex < kMost);
    if (address + bytes <= address) [[unlikely]]
      return false;
    out_[kIndex].address = address;
    // Not one vector: words put into one cost more instructions than their stores.
    std::atomic_signal_fence(std::memory_order_acq_rel);
    out_[kIndex].bytes = bytes;
    total_ += bytes;
    return true;
  }
  // The buffers from kIndex on are writable.
  template <unsigned kIndex>
  void begin_writable() {
    chain_.readable_end_ = kIndex * sizeof(DmaSegment);
    chain_.readable_bytes_ = total_;
  }
  // Of kCount buffers.
  template <unsigned kCount, unsigned kWriteFlag>
  void finish() {
    if constexpr (kWriteFlag == 0) begin_writable<kCount>();
    end<kCount>();
  }
  // After kMost buffers: a ChainWriter goes on.
  template <unsigned kWriteFlag>
  void suspend() {
    end<kMost>();
    chain_.ring_bytes_ = kWriteFlag;  // as ChainWriter has it there
  }

 private:
  template <unsigned kCount>
  void end() {
    chain_.end_ = kCount * sizeof(DmaSegment);
    chain_.bytes_ = total_;
  }

  DescriptorChain& chain_;
  DmaSegment* out_;
  std::uint64_t total_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_QUICK_CHAIN_H_
