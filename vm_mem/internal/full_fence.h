// The fence between a store and a later load.
#ifndef VM_MEM_INTERNAL_FULL_FENCE_H_
#define VM_MEM_INTERNAL_FULL_FENCE_H_

#include <atomic>

namespace vm_mem::internal {

// ThreadSanitizer knows no fences: it is kept out.
__attribute__((no_sanitize("thread"))) inline void full_fence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FULL_FENCE_H_
