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

vme_rc HartMemory::check_block(std::uint64_t address) {
  // Whatever may be written may be read, and asking to write would set D in the entry.
  return vme_probe(cpu_, address, 1, VME_ACCESS_READ, mode_, nullptr);
}

vme_rc HartMemory::zero_block(std::uint64_t address) {
  constexpr std::uint32_t kWords = 3u << VME_ELEM_SHIFT;
  const std::uint64_t block = address & ~(kCacheBlockBytes - 1);
  const std::uint64_t left = vme_fill(cpu_, block, 0, kCacheBlockBytes,
                                      (mode_ << VME_MMU_DST_SHIFT) | kWords | VME_NO_MMIO);
  return left == 0 ? VME_OK : static_cast<vme_rc>(cpu_->fault.rc);
}

std::uint64_t HartMemory::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes,
                               ByteOrder order) {
  std::uint32_t flags =
      (mode_ << VME_MMU_SRC_SHIFT) | (mode_ << VME_MMU_DST_SHIFT) | VME_OVERLAP_PROPAGATE;
  if (order == ByteOrder::kDescending) flags |= VME_BACKWARD;
  return vme_copy(cpu_, to, from, bytes, flags);
}

std::uint64_t HartMemory::fill(std::uint64_t to, std::uint8_t value, std::uint64_t bytes) {
  return vme_fill(cpu_, to, value, bytes, mode_ << VME_MMU_DST_SHIFT);
}

}  // namespace vmrun
