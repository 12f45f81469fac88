// Bulk copies for programs that run on vmrun: docs/vmrun.md describes the instructions. For C
// and C++, any optimization, with or without a library; nothing to link.
//
// Each function is one instruction that is executed until nothing is left. What traps within
// it resumes it where it was, so that page faults and interrupts need no care.
#ifndef VM_COPY_H_
#define VM_COPY_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// As memmove: the regions may overlap.
static inline void* vm_copy(void* to, const void* from, size_t bytes) {
  void* at = to;
  __asm__ volatile(".insn r CUSTOM_0, 0, 0, %0, %1, %2"
                   : "+&r"(at), "+&r"(from), "+&r"(bytes)
                   :
                   : "memory");
  return to;
}

// From the first byte to the last, whatever overlaps: with `to` 4 bytes above `from`, the
// first 4 bytes are repeated. Returns the end of the copy.
static inline void* vm_copy_up(void* to, const void* from, size_t bytes) {
  __asm__ volatile(".insn r CUSTOM_0, 1, 0, %0, %1, %2"
                   : "+&r"(to), "+&r"(from), "+&r"(bytes)
                   :
                   : "memory");
  return to;
}

// From the last byte to the first; the addresses are those behind the last ones. Returns the
// beginning of the copy.
static inline void* vm_copy_down(void* to_end, const void* from_end, size_t bytes) {
  __asm__ volatile(".insn r CUSTOM_0, 2, 0, %0, %1, %2"
                   : "+&r"(to_end), "+&r"(from_end), "+&r"(bytes)
                   :
                   : "memory");
  return to_end;
}

// As memset.
static inline void* vm_set(void* to, int value, size_t bytes) {
  void* at = to;
  const unsigned long low = (unsigned char)value;
  __asm__ volatile(".insn r CUSTOM_0, 3, 0, %0, %2, %1"
                   : "+&r"(at), "+&r"(bytes)
                   : "r"(low)
                   : "memory");
  return to;
}

#ifdef __cplusplus
}
#endif

#endif  // VM_COPY_H_
