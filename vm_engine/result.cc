// Result codes and the version of the C interface.
#include "vm_engine/vm_engine.h"

uint32_t vme_abi_version(void) { return VME_ABI_VERSION; }

const char* vme_rc_name(vme_rc rc) {
  switch (rc) {
    case VME_OK: return "VME_OK";
    case VME_UNMAPPED: return "VME_UNMAPPED";
    case VME_PROT: return "VME_PROT";
    case VME_XLAT: return "VME_XLAT";
    case VME_MMIO: return "VME_MMIO";
    case VME_ALIGN: return "VME_ALIGN";
    case VME_BUS: return "VME_BUS";
    case VME_INTR: return "VME_INTR";
    case VME_CODE_HIT: return "VME_CODE_HIT";
    case VME_EINVAL: return "VME_EINVAL";
    case VME_ENOMEM: return "VME_ENOMEM";
    case VME_ENOTSUP: return "VME_ENOTSUP";
    case VME_EABI: return "VME_EABI";
    case VME_EBUSY: return "VME_EBUSY";
  }
  return "unknown";
}
