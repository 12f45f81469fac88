// The part of the copy core that is compiled into its callers: small copies without
// a call. What it compiles to differs with the caller's compiler flags, so it lives
// in an inline namespace named after them: objects built with different flags then
// link in any order, each with its own copy of this code.
#ifndef VM_MEM_INLINE_COPY_H_
#define VM_MEM_INLINE_COPY_H_

#include <atomic>
#include <cstddef>
#include <span>

#if defined(__AVX512VL__)
#define VM_MEM_INLINE_ISA inline_avx512vl
#elif defined(__AVX512F__)
#define VM_MEM_INLINE_ISA inline_avx512f
#elif defined(__AVX2__)
#define VM_MEM_INLINE_ISA inline_avx2
#elif defined(__AVX__)
#define VM_MEM_INLINE_ISA inline_avx
#else
#define VM_MEM_INLINE_ISA inline_baseline
#endif

namespace vm_mem {

// The largest copy made in line: CopyPolicy::inline_max; 0 until the first use of
// the core, and always where VM_MEM_ISA forces a row.
extern std::atomic<std::size_t> inline_limit;

// The most that any limit may make inline code of.
inline constexpr std::size_t kInlineCeiling = 4096;

// The core's choice between the vector and the streaming path. Disjoint ranges.
void copy_out_of_line(void* dst, const void* src, std::size_t n) noexcept;

inline namespace VM_MEM_INLINE_ISA {

// Disjoint ranges, any n: overlapping copies of constant size.
[[gnu::always_inline]] inline void copy_in_line(std::byte* dst, const std::byte* src,
                                                std::size_t n) noexcept {
  if (n > 64) {
    for (std::size_t i = 0; i + 64 < n; i += 64) __builtin_memcpy(dst + i, src + i, 64);
    __builtin_memcpy(dst + n - 64, src + n - 64, 64);
  } else if (n >= 32) {
    __builtin_memcpy(dst, src, 32);
    __builtin_memcpy(dst + n - 32, src + n - 32, 32);
  } else if (n >= 16) {
    __builtin_memcpy(dst, src, 16);
    __builtin_memcpy(dst + n - 16, src + n - 16, 16);
  } else if (n >= 8) {
    __builtin_memcpy(dst, src, 8);
    __builtin_memcpy(dst + n - 8, src + n - 8, 8);
  } else if (n >= 4) {
    __builtin_memcpy(dst, src, 4);
    __builtin_memcpy(dst + n - 4, src + n - 4, 4);
  } else if (n >= 2) {
    __builtin_memcpy(dst, src, 2);
    __builtin_memcpy(dst + n - 2, src + n - 2, 2);
  } else if (n == 1) {
    *dst = *src;
  }
}

// Up to CopyPolicy::inline_max copied in line, without a call; above on the vector
// path; from CopyPolicy::stream_min on the streaming path.
//
// Needs:  src.size() == dst.size(), disjoint. The compiler is told of the first, so
//         that it weighs no size that an array of known length cannot have.
[[gnu::always_inline]] inline void memcpy_adaptive(std::span<std::byte> dst,
                                                   std::span<const std::byte> src) noexcept {
  if (dst.size() != src.size()) __builtin_unreachable();
  if (dst.size() <= inline_limit.load(std::memory_order_relaxed)) {
    return copy_in_line(dst.data(), src.data(), dst.size());
  }
  copy_out_of_line(dst.data(), src.data(), dst.size());
}

// The same with the caller's own limit: from `vector_min` bytes on the vector path.
// A limit above kInlineCeiling counts as that; where inline_limit is 0, nothing is
// copied in line.
[[gnu::always_inline]] inline void memcpy_adaptive_with_threshold(std::span<std::byte> dst,
                                                                  std::span<const std::byte> src,
                                                                  std::size_t vector_min) noexcept {
  const std::size_t n = dst.size();
  if (n != src.size()) __builtin_unreachable();
  if (n < vector_min && n <= kInlineCeiling && inline_limit.load(std::memory_order_relaxed) != 0) {
    return copy_in_line(dst.data(), src.data(), n);
  }
  copy_out_of_line(dst.data(), src.data(), n);
}

}  // namespace VM_MEM_INLINE_ISA
}  // namespace vm_mem

#undef VM_MEM_INLINE_ISA

#endif  // VM_MEM_INLINE_COPY_H_
