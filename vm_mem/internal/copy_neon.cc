// Copy kernels for AArch64's baseline: 16-byte lanes of Advanced SIMD. A 16-byte
// access at a multiple of 8 is two single-copy atomic words (Arm ARM, B2.2.1).

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

struct Lane {
  static constexpr std::size_t kBytes = 16;
  using Reg = uint8x16_t;
  using Half = Lane8;

  VM_MEM_INLINE static Reg load(const std::byte* p) {
    return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p));
  }
  VM_MEM_INLINE static void store(std::byte* p, Reg r) {
    vst1q_u8(reinterpret_cast<std::uint8_t*>(p), r);
  }
  // The ISA's non-temporal stores come in pairs only and order nothing less.
  VM_MEM_INLINE static void store_streaming(std::byte* p, Reg r) { store(p, r); }
  VM_MEM_INLINE static void fence() { store_fence(); }
  VM_MEM_INLINE static Reg splat(std::byte value) {
    return vdupq_n_u8(static_cast<std::uint8_t>(value));
  }
  VM_MEM_INLINE static Reg either(Reg a, Reg b) { return vorrq_u8(a, b); }
  VM_MEM_INLINE static Reg difference(Reg a, Reg b) { return veorq_u8(a, b); }
  VM_MEM_INLINE static bool is_zero(Reg r) { return vmaxvq_u8(r) == 0; }
};

#include "vm_mem/internal/copy_shapes.inc"

bool supported_here() { return cpu_features().neon; }

}  // namespace

constinit const CopyKernels kNeonKernels = make_row("neon", supported_here);

}  // namespace vm_mem::internal
