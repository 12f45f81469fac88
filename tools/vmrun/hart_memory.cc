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
  const std::uint64_t left = vme_copy(cpu_, to, from, bytes, copy_flags(order));
  bulk_bytes_ += bytes - left;
  return left;
}

std::uint64_t HartMemory::fill(std::uint64_t to, std::uint8_t value, std::uint64_t bytes) {
  const std::uint64_t left = vme_fill(cpu_, to, value, bytes, mode_ << VME_MMU_DST_SHIFT);
  bulk_bytes_ += bytes - left;
  return left;
}

std::uint64_t HartMemory::copy_elements(std::uint64_t to, std::uint64_t from, std::uint64_t bytes,
                                        ByteOrder order, unsigned log2_element) {
  return vme_copy(cpu_, to, from, bytes,
                  copy_flags(order) | (log2_element << VME_ELEM_SHIFT) | VME_NO_MMIO);
}

std::uint64_t HartMemory::fill_elements(std::uint64_t to, std::uint64_t pattern,
                                        std::uint64_t bytes, unsigned log2_element) {
  return vme_fill(cpu_, to, pattern, bytes,
                  (mode_ << VME_MMU_DST_SHIFT) | (log2_element << VME_ELEM_SHIFT) | VME_NO_MMIO);
}

const std::byte* HartMemory::host_of(std::uint64_t address, std::uint32_t access) {
  void* host = nullptr;
  static_cast<void>(vme_probe(cpu_, address, 1, access, mode_, &host));
  return static_cast<const std::byte*>(host);
}

std::uint64_t HartMemory::peek(std::uint64_t address, unsigned log2_bytes) {
  return vme_load(cpu_, address, (mode_ << VME_MMU_SRC_SHIFT) | (log2_bytes << VME_ELEM_SHIFT))
      .value;
}

}  // namespace vmrun
