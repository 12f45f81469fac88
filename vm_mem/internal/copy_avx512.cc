// Copy kernels for x86-64 with AVX-512 F, BW, DQ and VL: 64-byte lanes.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

VM_MEM_TARGET_BEGIN("avx2,avx512f,avx512bw,avx512dq,avx512vl")

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

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().avx512; }

}  // namespace

constinit const CopyKernels kAvx512Kernels = make_row("avx512", supported_here);

}  // namespace vm_mem::internal
