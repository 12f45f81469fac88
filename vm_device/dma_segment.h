// Runs of bus addresses, and a place in a list of them.
#ifndef VM_DEVICE_DMA_SEGMENT_H_
#define VM_DEVICE_DMA_SEGMENT_H_

#include <cstdint>
#include <span>

#include "vm_mem/guest_address.h"

namespace vm_device {

// What DMA does to memory: a set of bits.
enum class DmaAccess : std::uint8_t { kRead = 1, kWrite = 2, kReadWrite = 3 };

// A run of bus addresses.
using DmaSegment = vm_mem::AddressRun;

// A place in a list of segments, to move through it in several steps.
class SegmentCursor {
 public:
  // Needs:  the list outlives this object. Segments may be empty; their bytes may add
  //         up to more than 2^64 - 1.
  explicit SegmentCursor(std::span<const DmaSegment> list) : list_(list) {}

  // The next run of at most `limit` bytes, inside one segment; nothing is passed.
  // Its `bytes` is 0 at the end of the list only (or where `limit` is 0).
  DmaSegment peek(std::uint64_t limit);
  // Passes `bytes`, or all that are left.
  void skip(std::uint64_t bytes);

 private:
  std::span<const DmaSegment> list_;
  std::uint64_t offset_ = 0;  // into the first segment of list_
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_SEGMENT_H_
