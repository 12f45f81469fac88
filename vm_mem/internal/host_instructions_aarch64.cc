#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/host_instructions.h"

namespace vm_mem::internal {

void store_fence() { __asm__ volatile("dmb ishst" ::: "memory"); }

// FEAT_MOPS has such instructions; they are not used here.
bool has_string_copy() { return false; }

void string_copy(std::byte* dst, const std::byte* src, std::size_t n) {
  kNeonKernels.copy(dst, src, n);
}

}  // namespace vm_mem::internal
