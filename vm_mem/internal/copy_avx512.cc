// Copy kernels for x86-64 with AVX-512 F, BW, DQ and VL, and BMI2: 64-byte lanes.
//
// Plain copies of up to a lane whose sizes vary: one masked load and one masked store,
// no branch on the size. A load of bytes just stored has to wait for a masked store;
// sizes that repeat, as those of descriptors do, take the ladder instead.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_finish.h"
#include "vm_mem/internal/size_history.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

VM_MEM_TARGET_BEGIN("bmi2,avx2,avx512f,avx512bw,avx512dq,avx512vl")

#include "vm_mem/internal/lane_avx2.inc"

struct Lane {
  static constexpr std::size_t kBytes = 64;
  using Reg = __m512i;
  using Half = Lane32;

  VM_MEM_INLINE static Reg load(const std::byte* p) { return _mm512_loadu_si512(p); }
  VM_MEM_INLINE static void store(std::byte* p, Reg r) { _mm512_storeu_si512(p, r); }
  VM_MEM_INLINE static void store_streaming(std::byte* p, Reg r) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), r);
  }
  VM_MEM_INLINE static void fence() { _mm_sfence(); }
  VM_MEM_INLINE static Reg splat(std::byte value) {
    return _mm512_set1_epi8(static_cast<char>(value));
  }
  VM_MEM_INLINE static Reg either(Reg a, Reg b) { return _mm512_or_si512(a, b); }
  VM_MEM_INLINE static Reg difference(Reg a, Reg b) { return _mm512_xor_si512(a, b); }
  VM_MEM_INLINE static bool is_zero(Reg r) { return _mm512_test_epi64_mask(r, r) == 0; }
};

#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/recoverable_avx512.inc"
using FaultLane = FaultLane64;
VM_MEM_INLINE void leave_vectors() {}
#include "vm_mem/internal/recoverable_shapes.inc"
#include "vm_mem/internal/small_ladder.inc"

constexpr std::size_t kSmallMax = 4 * kLane;
constexpr std::size_t kPage = 4096;

// A masked access that reaches into another page is slow where that page is absent,
// read-only or not populated yet, even if the mask takes none of its bytes.
VM_MEM_INLINE bool a_lane_leaves_its_page(const std::byte* a, const std::byte* b) {
  return (((past_boundary(a, kPage) + kLane - 1) | (past_boundary(b, kPage) + kLane - 1)) &
          kPage) != 0;
}

// Needs:  n <= kLane.
VM_MEM_INLINE void copy_masked(std::byte* dst, const std::byte* src, std::size_t n) {
  const __mmask64 first_bytes = _bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(n));
  _mm512_mask_storeu_epi8(dst, first_bytes, _mm512_maskz_loadu_epi8(first_bytes, src));
}

// Needs:  L::kBytes < n <= 4 * L::kBytes. No branch on the size: up to two lanes the
// four coincide in pairs.
template <typename L>
VM_MEM_INLINE void copy_four_lanes(std::byte* dst, const std::byte* src, std::size_t n) {
  const std::size_t step = ((n - 1) & (2 * L::kBytes)) / 2;
  FourLanes<L>::load(src, n, step).store(dst, n, step);
}

// Out of the way of the masked copy, and rare.
VM_MEM_OUTLINE void copy_at_page_end(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  copy_by_ladder<Lane32>(dst, src, n);
}

// Two tests of the history, one in each range: shared, they cost a jump more.
VM_MEM_INLINE void copy_small(std::byte* dst, const std::byte* src, std::size_t n) {
  if (n <= kLane) [[likely]] {
    if (size_repeats(n)) return copy_by_ladder<Lane32>(dst, src, n);
    if (a_lane_leaves_its_page(dst, src)) [[unlikely]]
      return copy_at_page_end(dst, src, n);
    return copy_masked(dst, src, n);
  }
  if (!size_repeats(n)) return copy_four_lanes<Lane>(dst, src, n);
  n <= 2 * kLane ? copy_ends<Run<Lane32, 2>>(dst, src, n) : copy_ends<Run<Lane, 2>>(dst, src, n);
}

#include "vm_mem/internal/copy_plain.inc"

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().avx512; }

}  // namespace

constinit const CopyKernels kAvx512Kernels = make_row("avx512", supported_here, kRecoverable);

}  // namespace vm_mem::internal
