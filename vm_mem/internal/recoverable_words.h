// One load or store of 1, 2, 4 or 8 bytes that may fault: single-copy atomic where it
// is naturally aligned, and then it touches one page.
#ifndef VM_MEM_INTERNAL_RECOVERABLE_WORDS_H_
#define VM_MEM_INTERNAL_RECOVERABLE_WORDS_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/target_region.h"

namespace vm_mem::internal {

// move() stores at `dst` what it loads from `src`, store() stores `value`; true where
// neither faulted. Both are relaxed.
template <typename Word>
struct RecoverableWord;

#define VM_MEM_RECOVERABLE_WORD(type, load_text, store_text, value_text)    \
  template <>                                                               \
  struct RecoverableWord<type> {                                            \
    VM_MEM_INLINE static bool move(std::byte* dst, const std::byte* src) {  \
      __asm__ goto(VM_MEM_CAN_FAULT(load_text) VM_MEM_CAN_FAULT(store_text) \
                   :                                                        \
                   : [dst] "r"(dst), [src] "r"(src)                         \
                   : VM_MEM_SCRATCH, "memory"                               \
                   : fault);                                                \
      return true;                                                          \
    fault:                                                                  \
      return false;                                                         \
    }                                                                       \
    VM_MEM_INLINE static bool store(std::byte* dst, type value) {           \
      __asm__ goto(VM_MEM_CAN_FAULT(value_text)                             \
                   :                                                        \
                   : [dst] "r"(dst), [value] "r"(value)                     \
                   : "memory"                                               \
                   : fault);                                                \
      return true;                                                          \
    fault:                                                                  \
      return false;                                                         \
    }                                                                       \
  }

#if defined(__x86_64__)
#define VM_MEM_SCRATCH "r8"
VM_MEM_RECOVERABLE_WORD(std::uint8_t, "movzbl (%[src]), %%r8d", "movb %%r8b, (%[dst])",
                        "movb %b[value], (%[dst])");
VM_MEM_RECOVERABLE_WORD(std::uint16_t, "movzwl (%[src]), %%r8d", "movw %%r8w, (%[dst])",
                        "movw %w[value], (%[dst])");
VM_MEM_RECOVERABLE_WORD(std::uint32_t, "movl (%[src]), %%r8d", "movl %%r8d, (%[dst])",
                        "movl %k[value], (%[dst])");
VM_MEM_RECOVERABLE_WORD(std::uint64_t, "movq (%[src]), %%r8", "movq %%r8, (%[dst])",
                        "movq %q[value], (%[dst])");
#elif defined(__aarch64__)
#define VM_MEM_SCRATCH "x8"
VM_MEM_RECOVERABLE_WORD(std::uint8_t, "ldrb w8, [%[src]]", "strb w8, [%[dst]]",
                        "strb %w[value], [%[dst]]");
VM_MEM_RECOVERABLE_WORD(std::uint16_t, "ldrh w8, [%[src]]", "strh w8, [%[dst]]",
                        "strh %w[value], [%[dst]]");
VM_MEM_RECOVERABLE_WORD(std::uint32_t, "ldr w8, [%[src]]", "str w8, [%[dst]]",
                        "str %w[value], [%[dst]]");
VM_MEM_RECOVERABLE_WORD(std::uint64_t, "ldr x8, [%[src]]", "str x8, [%[dst]]",
                        "str %x[value], [%[dst]]");
#endif
#undef VM_MEM_RECOVERABLE_WORD
#undef VM_MEM_SCRATCH

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RECOVERABLE_WORDS_H_
