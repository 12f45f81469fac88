// Loops over dirty marks in 8-byte words, for every CPU: the row of last resort.

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

using Lane = Lane8;
#include "vm_mem/internal/dirty_blocks.inc"

// Bit i: byte i of `marks` is not 0.
VM_MEM_INLINE std::uint64_t nonzero_bytes(std::uint64_t marks) {
  constexpr std::uint64_t kLow7 = 0x7f7f'7f7f'7f7f'7f7f;
  const std::uint64_t top = ((marks & kLow7) + kLow7) | marks;
  // The product moves bit 8 * i to bit 56 + i; no two of its terms meet.
  return (top >> 7 & 0x0101'0101'0101'0101) * 0x0102'0408'1020'4080 >> 56;
}

struct Block : BlockOfLanes {
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    std::uint64_t found = 0;
    for (unsigned i = 0; i < 8; ++i) {
      const std::uint64_t marks = Lane8::load(p + std::size_t{8} * i);
      if (marks != 0) found |= nonzero_bytes(marks) << 8 * i;
    }
    return found;
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

bool supported_here() { return true; }

}  // namespace

constinit const DirtyKernels kScalarDirtyKernels = make_row("scalar", supported_here);

}  // namespace vm_mem::internal
