// Fills a DescriptorChain with what descriptors say, and judges it.
#ifndef VM_DEVICE_INTERNAL_CHAIN_WRITER_H_
#define VM_DEVICE_INTERNAL_CHAIN_WRITER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "vm_device/descriptor_chain.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtqueue_error.h"

namespace vm_device::internal {

// What it counts stays in registers until finish(): it is passed to nobody. Another one can
// resume from what suspend() has left in the chain.
class ChainWriter {
 public:
  enum class From { kBeginning, kSuspended };
  // A chain has room for none or for as many.
  static constexpr std::size_t kLeastRoom = 16;

  explicit ChainWriter(DescriptorChain& chain, From from = From::kBeginning)
      : chain_(chain), out_(chain.segments_.data()), end_(end_of(chain)) {
    if (from == From::kBeginning) return;
    out_ += chain.end_ / sizeof(DmaSegment);
    total_ = chain.bytes_;
    write_flag_ = chain.ring_bytes_;
  }

  VirtqueueError append(std::uint64_t address, std::uint32_t bytes, unsigned flags) {
    if ((flags & kDescriptorWrite) != write_flag_) {
      if (write_flag_ != 0) return VirtqueueError::kReadAfterWrite;
      begin_writable();
    }
    if (bytes == 0) return VirtqueueError::kNone;
    if (bytes - 1 > UINT64_MAX - address) return VirtqueueError::kAddressWrap;
    if (out_ == end_ && !grow()) return VirtqueueError::kNoMemory;
    put(address, bytes);
    return VirtqueueError::kNone;
  }

  // For the short ways of pop(): false also for a table, and whatever it was, the chain is then
  // to be written anew.
  bool try_append(std::uint64_t address, std::uint32_t bytes, unsigned flags) {
    const unsigned kind = flags & (kDescriptorWrite | kDescriptorIndirect);
    if (kind == write_flag_ && address + bytes > address && out_ != end_) [[likely]] {
      put(address, bytes);
      return true;
    }
    return (flags & kDescriptorIndirect) == 0 &&
           append(address, bytes, flags) == VirtqueueError::kNone;
  }

  void begin_writable() {
    write_flag_ = kDescriptorWrite;
    chain_.readable_end_ = offset();
    chain_.readable_bytes_ = total_;
  }
  // Of the next segment in the chain, in bytes.
  std::size_t offset() const {
    return static_cast<std::size_t>(reinterpret_cast<std::byte*>(out_) -
                                    reinterpret_cast<std::byte*>(chain_.segments_.data()));
  }

  void suspend() {
    chain_.end_ = offset();
    chain_.bytes_ = total_;
    chain_.ring_bytes_ = write_flag_;  // where it has no meaning yet
  }

  void finish() {
    if (write_flag_ == 0) begin_writable();
    chain_.end_ = offset();
    chain_.bytes_ = total_;
  }

 private:
  void put(std::uint64_t address, std::uint32_t bytes) {
    out_->address = address;
    // Not one vector: words put into one cost more instructions than their stores.
    std::atomic_signal_fence(std::memory_order_acq_rel);
    out_->bytes = bytes;
    ++out_;
    total_ += bytes;
  }
  static DmaSegment* end_of(DescriptorChain& chain) {
    return std::to_address(chain.segments_.end());
  }
  [[gnu::noinline]] static bool enlarge(DescriptorChain& chain) {
    try {
      chain.segments_.resize(std::max(kLeastRoom, 2 * chain.segments_.size()));
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  bool grow() {
    const auto count = out_ - chain_.segments_.data();
    if (!enlarge(chain_)) return false;
    out_ = chain_.segments_.data() + count;
    end_ = end_of(chain_);
    return true;
  }

  DescriptorChain& chain_;
  DmaSegment* out_;
  DmaSegment* end_;
  std::uint64_t total_ = 0;
  unsigned write_flag_ = 0;  // of the descriptors to come
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_CHAIN_WRITER_H_
