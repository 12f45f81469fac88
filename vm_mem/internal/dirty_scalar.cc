// Loops over dirty marks in 8-byte words, for every CPU: the row of last resort.

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

using Lane = Lane8;
#include "vm_mem/internal/dirty_blocks.inc"

struct Block : BlockOfLanes {
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    std::uint64_t found = 0;
    for (unsigned i = 0; i < 8; ++i) {
      const std::uint64_t marks = Lane8::load(p + std::size_t{8} * i);
      if (marks != 0) found |= dirty_of_eight(marks) << 8 * i;
    }
    return found;
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

bool supported_here() { return true; }

}  // namespace

constinit const DirtyKernels kScalarDirtyKernels = make_row("scalar", supported_here);

}  // namespace vm_mem::internal
