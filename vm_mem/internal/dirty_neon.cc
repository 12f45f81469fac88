// Loops over dirty marks for AArch64: 16-byte lanes.

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

#include "vm_mem/internal/lane_neon.inc"
using Lane = Lane16;
#include "vm_mem/internal/dirty_blocks.inc"

struct Block : BlockOfLanes {
  // There is no instruction that moves a mask of bytes to a register: each byte keeps
  // one bit of its own, and pairwise additions bring eight bytes into one.
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    constexpr std::uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bits = vld1q_u8(kBits);
    const uint8x16_t dirty = vdupq_n_u8(kMarkDirty);
    const auto own_bits = [&](std::size_t lane) __attribute__((always_inline)) {
      const uint8x16_t marks = Lane::load(p + 16 * lane);
      return vandq_u8(vtstq_u8(marks, dirty), bits);
    };
    const uint8x16_t low = vpaddq_u8(own_bits(0), own_bits(1));
    const uint8x16_t high = vpaddq_u8(own_bits(2), own_bits(3));
    const uint8x16_t quarters = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(quarters, quarters)), 0);
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

bool supported_here() { return cpu_features().neon; }

}  // namespace

constinit const DirtyKernels kNeonDirtyKernels = make_row("neon", supported_here);

}  // namespace vm_mem::internal
