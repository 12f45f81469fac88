// Loops over dirty marks for every x86-64: 16-byte lanes.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

#include "vm_mem/internal/lane_sse2.inc"
using Lane = Lane16;
#include "vm_mem/internal/dirty_blocks.inc"

struct Block : BlockOfLanes {
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    std::uint64_t found = 0;
    for (unsigned i = 0; i < 4; ++i) {
      // Shifted to the top of each byte, where the mask is taken from.
      const __m128i tops = _mm_slli_epi16(Lane::load(p + std::size_t{16} * i), kDirtyToTop);
      found |= static_cast<std::uint64_t>(_mm_movemask_epi8(tops)) << 16 * i;
    }
    return found;
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

bool supported_here() { return cpu_features().sse2; }

}  // namespace

constinit const DirtyKernels kSse2DirtyKernels = make_row("sse2", supported_here);

}  // namespace vm_mem::internal
