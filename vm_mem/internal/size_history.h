// Whether the sizes of this thread's small copies can be foreseen.
//
// A branch on the size costs nothing where sizes repeat, and a misprediction, 10 to
// 20 ns, where they do not. Code without such branches is slower where they repeat,
// and its stores may not reach a load that follows at once. So the small paths keep
// both and choose by what came before.
#ifndef VM_MEM_INTERNAL_SIZE_HISTORY_H_
#define VM_MEM_INTERNAL_SIZE_HISTORY_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/target_region.h"

namespace vm_mem::internal {

// True where the four small copies before this one had its size; remembers it.
//
// Needs:  n <= 256. Sizes that differ by 256 count as one.
VM_MEM_INLINE bool size_repeats(std::size_t n) {
  const std::uint32_t size = static_cast<std::uint8_t>(n);
  const std::uint32_t sizes = latest_sizes;
  if (sizes == size * 0x0101'0101u) [[likely]]
    return true;
  latest_sizes = sizes << 8 | size;
  return false;
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SIZE_HISTORY_H_
