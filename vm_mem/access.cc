#include "vm_mem/access.h"

namespace vm_mem {

std::string_view access_fault_name(AccessFault fault) {
  switch (fault) {
    case AccessFault::kNone: return "kNone";
    case AccessFault::kUnmapped: return "kUnmapped";
    case AccessFault::kReadOnly: return "kReadOnly";
    case AccessFault::kProtected: return "kProtected";
    case AccessFault::kDevice: return "kDevice";
    case AccessFault::kHostFault: return "kHostFault";
    case AccessFault::kBusy: return "kBusy";
    case AccessFault::kMisaligned: return "kMisaligned";
  }
  return "unknown";
}

}  // namespace vm_mem
