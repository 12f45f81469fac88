// Loops over dirty marks for x86-64 with AVX2: 32-byte lanes.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

VM_MEM_TARGET_BEGIN("avx2")

#include "vm_mem/internal/lane_avx2.inc"
using Lane = Lane32;
#include "vm_mem/internal/dirty_blocks.inc"

struct Block : BlockOfLanes {
  // Shifted to the top of each byte, where the mask is taken from.
  VM_MEM_INLINE static std::uint32_t ones(const std::byte* p) {
    return static_cast<std::uint32_t>(
        _mm256_movemask_epi8(_mm256_slli_epi16(Lane::load(p), kDirtyToTop)));
  }
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    return std::uint64_t{ones(p + 32)} << 32 | ones(p);
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().avx2; }

}  // namespace

constinit const DirtyKernels kAvx2DirtyKernels = make_row("avx2", supported_here);

}  // namespace vm_mem::internal
