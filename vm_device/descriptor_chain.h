// One request of a virtqueue, as Virtqueue::pop() has copied it out of the rings.
#ifndef VM_DEVICE_DESCRIPTOR_CHAIN_H_
#define VM_DEVICE_DESCRIPTOR_CHAIN_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vm_device/dma_segment.h"

namespace vm_device {

namespace internal {
class ChainWriter;
class QuickChain;
class RingCore;
}  // namespace internal

// Buffers for the device to read, then buffers for it to write. Descriptors of length 0
// count toward the length of the chain and give no segment. Whether the buffers lie in
// guest memory is found when DMA reaches for them.
//
// Reused from request to request, it allocates only for a longer chain than before; where
// the host has no memory for that the queue stops. A device that answers later keeps the
// chain (moved or copied) until it pushes it.
class DescriptorChain {
 public:
  // The driver's name for the request, below the size of the queue: the head of the chain
  // (split), or the buffer ID (packed). A hostile driver may use one for several at a time.
  std::uint16_t head() const { return static_cast<std::uint16_t>(name_); }
  std::span<const DmaSegment> readable() const {
    return std::span<const DmaSegment>(segments_).first(readable_end_ / sizeof(DmaSegment));
  }
  std::span<const DmaSegment> writable() const {
    return std::span<const DmaSegment>(segments_)
        .first(end_ / sizeof(DmaSegment))
        .subspan(readable_end_ / sizeof(DmaSegment));
  }
  // Cannot overflow: fewer than 2^17 segments of less than 2^32 bytes.
  std::uint64_t readable_bytes() const { return readable_bytes_; }
  std::uint64_t writable_bytes() const { return bytes_ - readable_bytes_; }

 private:
  friend class internal::ChainWriter;
  friend class internal::QuickChain;
  friend class internal::RingCore;

  std::vector<DmaSegment> segments_;  // room for more than there are
  // As Virtqueue has them at hand: bytes of segments_.
  std::size_t end_ = 0;
  std::size_t readable_end_ = 0;
  std::uint64_t readable_bytes_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t epoch_ = 0;       // of the queue; 0 of none
  std::uint32_t name_ = 0;        // head(), and above it what the form adds
  std::uint32_t ring_bytes_ = 0;  // of its descriptors in the ring (packed)
  std::uint16_t turn_ = 0;        // of a queue in order
  std::uint16_t note_ = 0;        // in the queue's journal (packed)
};

}  // namespace vm_device

#endif  // VM_DEVICE_DESCRIPTOR_CHAIN_H_
