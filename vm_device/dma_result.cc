#include "vm_device/dma_result.h"

namespace vm_device {

std::string_view dma_fault_name(DmaFault fault) {
  switch (fault) {
    case DmaFault::kNone: return "kNone";
    case DmaFault::kUnmapped: return "kUnmapped";
    case DmaFault::kReadOnly: return "kReadOnly";
    case DmaFault::kProtected: return "kProtected";
    case DmaFault::kDevice: return "kDevice";
    case DmaFault::kHostFault: return "kHostFault";
    case DmaFault::kBusy: return "kBusy";
    case DmaFault::kMisaligned: return "kMisaligned";
    case DmaFault::kTranslation: return "kTranslation";
    case DmaFault::kReentrant: return "kReentrant";
    case DmaFault::kNotMapped: return "kNotMapped";
  }
  return "unknown";
}

}  // namespace vm_device
