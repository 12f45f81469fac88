#include "tools/vmrun/hart_memory.h"

namespace vmrun {

Cause cause_of(vme_rc rc, AccessKind kind) {
  if (rc == VME_ALIGN) {
    return kind == AccessKind::kLoad ? Cause::kLoadMisaligned : Cause::kStoreMisaligned;
  }
  return kind == AccessKind::kLoad ? Cause::kLoadAccess : Cause::kStoreAccess;
}

}  // namespace vmrun
