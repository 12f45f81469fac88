#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"

namespace vm_mem::internal {

void store_fence() { __asm__ volatile("sfence" ::: "memory"); }

bool has_string_copy() { return cpu_features().fast_rep_movsb; }

void string_copy(std::byte* dst, const std::byte* src, std::size_t n) {
  __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

}  // namespace vm_mem::internal
