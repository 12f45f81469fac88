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
    std::uint64_t clear = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const __m128i zeros =
          _mm_cmpeq_epi8(Lane::load(p + std::size_t{16} * i), _mm_setzero_si128());
      clear |= static_cast<std::uint64_t>(_mm_movemask_epi8(zeros)) << 16 * i;
    }
    return ~clear;
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

bool supported_here() { return cpu_features().sse2; }

}  // namespace

constinit const DirtyKernels kSse2DirtyKernels = make_row("sse2", supported_here);

}  // namespace vm_mem::internal
