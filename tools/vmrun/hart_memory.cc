#include "tools/vmrun/hart_memory.h"

namespace vmrun {

Cause cause_of(vme_rc rc, AccessKind kind) {
  const bool load = kind == AccessKind::kLoad;
  switch (rc) {
    case VME_ALIGN: return load ? Cause::kLoadMisaligned : Cause::kStoreMisaligned;
    case VME_XLAT: return load ? Cause::kLoadPage : Cause::kStorePage;
    default: return load ? Cause::kLoadAccess : Cause::kStoreAccess;
  }
}

}  // namespace vmrun
