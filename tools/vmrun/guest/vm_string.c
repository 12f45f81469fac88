// memcpy, memmove and memset, for programs that have no C library: what a compiler calls for
// assignments of structures, and for loops that it takes for these.

#include "tools/vmrun/guest/vm_copy.h"

void* memcpy(void* restrict to, const void* restrict from, size_t bytes) {
  return vm_copy(to, from, bytes);
}

void* memmove(void* to, const void* from, size_t bytes) { return vm_copy(to, from, bytes); }

void* memset(void* to, int value, size_t bytes) { return vm_set(to, value, bytes); }
