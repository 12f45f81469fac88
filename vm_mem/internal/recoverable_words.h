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

#include "host/recoverable_words.inc"
#undef VM_MEM_RECOVERABLE_WORD
#undef VM_MEM_SCRATCH

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RECOVERABLE_WORDS_H_
