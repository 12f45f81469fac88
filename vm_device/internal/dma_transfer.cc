#include "vm_device/internal/dma_transfer.h"

namespace vm_device::internal {

// kBusy is the guard's word for re-entrance, but a device may use it for its own
// reasons: the guard leaves a note in the entry.
DmaFault DmaTransfer::fault_of(vm_mem::AccessFault fault) const {
  using vm_mem::AccessFault;
  switch (fault) {
    case AccessFault::kNone: return DmaFault::kNone;
    case AccessFault::kUnmapped: return DmaFault::kUnmapped;
    case AccessFault::kReadOnly: return DmaFault::kReadOnly;
    case AccessFault::kProtected: return DmaFault::kProtected;
    case AccessFault::kDevice: return DmaFault::kDevice;
    case AccessFault::kHostFault: return DmaFault::kHostFault;
    case AccessFault::kBusy: return entry_.was_refused() ? DmaFault::kReentrant : DmaFault::kBusy;
    case AccessFault::kMisaligned: return DmaFault::kMisaligned;
  }
  return DmaFault::kDevice;
}

}  // namespace vm_device::internal
