// Single instructions of the host that C++ has no name for.
#ifndef VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_
#define VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_

#include <cstddef>

namespace vm_mem::internal {

// Orders every earlier store of this thread, streaming ones too, before any later.
void store_fence();

// Whether this CPU copies with one instruction (`rep movsb`) at a useful speed.
bool has_string_copy();

// Needs:  has_string_copy(); disjoint ranges. Promises nothing about words: not for
//         guest memory.
void string_copy(std::byte* dst, const std::byte* src, std::size_t n);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_
