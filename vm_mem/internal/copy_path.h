// The size class that the policy puts a copy in, for statistics and for choosing
// the streaming path.
#ifndef VM_MEM_INTERNAL_COPY_PATH_H_
#define VM_MEM_INTERNAL_COPY_PATH_H_

#include <cstddef>

#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/statistics.h"

namespace vm_mem::internal {

inline CopyPath copy_path(std::size_t n) {
  const CopyState& state = copy_state();
  if (n >= state.stream_min.load(std::memory_order_relaxed)) return CopyPath::kStream;
  if (n <= inline_limits[0].load(std::memory_order_relaxed)) return CopyPath::kInline;
  return CopyPath::kVector;
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_COPY_PATH_H_
