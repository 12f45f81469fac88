#include "tools/vmrun/finisher.h"

namespace vmrun {

vm_mem::AccessFault Finisher::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (offset != 0 || (size != 2 && size != 4)) return vm_mem::AccessFault::kNone;
  const auto code = static_cast<unsigned>((value >> 16) & 0xffff);
  switch (value & 0xffff) {
    case kFinisherPass: finish_({.kind = FinishKind::kPowerOff}); break;
    case kFinisherFail: finish_({.kind = FinishKind::kFail, .code = code}); break;
    case kFinisherReset: finish_({.kind = FinishKind::kReset}); break;
    default: break;
  }
  return vm_mem::AccessFault::kNone;
}

}  // namespace vmrun
