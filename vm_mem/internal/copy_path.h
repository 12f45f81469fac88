// The size class that the policy puts a copy in, for statistics and for choosing
// the streaming path.
#ifndef VM_MEM_INTERNAL_COPY_PATH_H_
#define VM_MEM_INTERNAL_COPY_PATH_H_

#include <cstddef>

#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/statistics.h"

namespace vm_mem::internal {

// Without a look whether the state is ready: for who has called copy_state() before.
inline CopyPath ready_copy_path(std::size_t n) {
  static_assert(static_cast<int>(CopyPath::kInline) == 0 &&
                static_cast<int>(CopyPath::kVector) == 1 &&
                static_cast<int>(CopyPath::kStream) == 2);
  // Added up, so that sizes that vary cost no branch. In every policy what is in line is
  // less than what streams.
  const bool called = n > inline_limits[0].load(std::memory_order_relaxed);
  const bool streams = n >= raw_copy_state.stream_min.load(std::memory_order_relaxed);
  return static_cast<CopyPath>(int{called} + int{streams});
}

inline CopyPath copy_path(std::size_t n) {
  copy_state();
  return ready_copy_path(n);
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_COPY_PATH_H_
