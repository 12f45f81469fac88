#include "vm_device/virtqueue_error.h"

namespace vm_device {

std::string_view virtqueue_error_name(VirtqueueError error) {
  switch (error) {
    case VirtqueueError::kNone: return "kNone";
    case VirtqueueError::kBadSize: return "kBadSize";
    case VirtqueueError::kRingMisaligned: return "kRingMisaligned";
    case VirtqueueError::kRingUnreachable: return "kRingUnreachable";
    case VirtqueueError::kAvailableJump: return "kAvailableJump";
    case VirtqueueError::kHeadOutOfRange: return "kHeadOutOfRange";
    case VirtqueueError::kNextOutOfRange: return "kNextOutOfRange";
    case VirtqueueError::kLoop: return "kLoop";
    case VirtqueueError::kReadAfterWrite: return "kReadAfterWrite";
    case VirtqueueError::kAddressWrap: return "kAddressWrap";
    case VirtqueueError::kIndirectNotNegotiated: return "kIndirectNotNegotiated";
    case VirtqueueError::kIndirectWithNext: return "kIndirectWithNext";
    case VirtqueueError::kIndirectNested: return "kIndirectNested";
    case VirtqueueError::kIndirectBadLength: return "kIndirectBadLength";
    case VirtqueueError::kIndirectTooLong: return "kIndirectTooLong";
    case VirtqueueError::kIndirectUnreachable: return "kIndirectUnreachable";
    case VirtqueueError::kUnanswerable: return "kUnanswerable";
    case VirtqueueError::kBufferIdOutOfRange: return "kBufferIdOutOfRange";
    case VirtqueueError::kRingOverrun: return "kRingOverrun";
    case VirtqueueError::kBadStart: return "kBadStart";
    case VirtqueueError::kRequestTooLong: return "kRequestTooLong";
    case VirtqueueError::kNoMemory: return "kNoMemory";
  }
  return "unknown";
}

}  // namespace vm_device
