// Fetching a line ahead, on AArch64. Hints: any address will do.
#ifndef VM_MEM_INTERNAL_AARCH64_HOST_PREFETCH_H_
#define VM_MEM_INTERNAL_AARCH64_HOST_PREFETCH_H_

#include <cstddef>

#include "vm_mem/internal/target_region.h"

namespace vm_mem::internal {

// A line that will be written whole.
VM_MEM_INLINE void prefetch_for_write(const std::byte* p) { __builtin_prefetch(p, 1, 3); }

// A line that will be read once.
VM_MEM_INLINE void prefetch_once(const std::byte* p) { __builtin_prefetch(p, 0, 0); }

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_AARCH64_HOST_PREFETCH_H_
