// Why a virtqueue has stopped.
#ifndef VM_DEVICE_VIRTQUEUE_ERROR_H_
#define VM_DEVICE_VIRTQUEUE_ERROR_H_

#include <cstdint>
#include <string_view>

namespace vm_device {

enum class VirtqueueError : std::uint8_t {
  kNone,
  kBadSize,          // 0, above the maximum, or (split) not a power of two
  kRingMisaligned,   // the descriptors not at 16; driver and device area not at 2 and 4
                     // (split), at 4 (packed)
  kRingUnreachable,  // a part of the rings wraps, or DMA cannot reach it
  kAvailableJump,    // split: the available index is ahead of the used one by more than the size
  kHeadOutOfRange,   // split: the available ring names a descriptor past the table
  kNextOutOfRange,   // split: a descriptor does
  kLoop,             // a chain of more descriptors than its table has
  kReadAfterWrite,   // a device-readable descriptor behind a device-writable one
  kAddressWrap,      // a buffer runs past 2^64
  kIndirectNotNegotiated,  // an indirect table without the feature
  kIndirectWithNext,       // an indirect table that is not the last of its chain, or (packed)
                           // not all of it
  kIndirectNested,         // split: an indirect table in an indirect table
  kIndirectBadLength,      // an indirect table of length 0, or not a multiple of 16
  kIndirectTooLong,        // an indirect table above kMaxIndirectDescriptors
  kIndirectUnreachable,    // DMA cannot reach the indirect table
  kUnanswerable,           // a request in which the device finds no place for its answer
  kBufferIdOutOfRange,     // packed: a buffer ID that is not below the size of the queue
  kRingOverrun,            // packed: a request in descriptors of requests not given back yet
  kBadStart,               // VirtqueueConfig::start is no state of an idle queue of this size
  kRequestTooLong,  // more bytes than a request may have whose addresses are to be translated
                    // by a front end
  kNoMemory,        // the host has none left for what the queue keeps
};

// The name of the enumerator, e.g. "kLoop". For messages and tests.
std::string_view virtqueue_error_name(VirtqueueError error);

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTQUEUE_ERROR_H_
