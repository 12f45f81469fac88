// The part of the copy core that is compiled into its callers: small copies without
// a call. What it compiles to differs with the caller's compiler flags, so it lives
// in an inline namespace named after them: objects built with different flags then
// link in any order, each vector level with its own copy of this code. Nothing in the
// library depends on those flags.
#ifndef VM_MEM_INLINE_COPY_H_
#define VM_MEM_INLINE_COPY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__BMI2__)
#include <immintrin.h>
#define VM_MEM_INLINE_ISA inline_avx512
#define VM_MEM_INLINE_LANE 64
#elif defined(__AVX512F__)
#define VM_MEM_INLINE_ISA inline_avx512f
#define VM_MEM_INLINE_LANE 32
#elif defined(__AVX2__)
#define VM_MEM_INLINE_ISA inline_avx2
#define VM_MEM_INLINE_LANE 32
#elif defined(__AVX__)
#define VM_MEM_INLINE_ISA inline_avx
#define VM_MEM_INLINE_LANE 16
#else
#define VM_MEM_INLINE_ISA inline_baseline
#define VM_MEM_INLINE_LANE 16
#endif

namespace vm_mem {

using CopyFunction = void(std::byte* dst, const std::byte* src, std::size_t n) noexcept;

// The core's copy on the row in use. Disjoint ranges, any n.
extern std::atomic<CopyFunction*> copy_function;

// The most that any limit may make inline code of.
inline constexpr std::size_t kInlineCeiling = 4096;

// The largest copies that code compiled for vectors of 16, 32 and 64 bytes makes in
// line: CopyPolicy::inline_max times 1, 2 and 4, up to kInlineCeiling; 0 until the first
// use of the core, always where VM_MEM_ISA forces a row, and for vectors wider than the
// policy's.
extern std::atomic<std::size_t> inline_limits[3];

// The sizes of this thread's latest four small copies, a byte each: by them small
// copies choose between code with branches on the size and code without. Masked copies
// in line are not noted; longer copies note how many lanes they have.
extern thread_local constinit std::uint32_t latest_sizes [[gnu::tls_model("initial-exec")]];

// g++ warns of branches for sizes that the caller's buffer cannot have.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Warray-bounds"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

inline namespace VM_MEM_INLINE_ISA {

[[gnu::always_inline]] inline std::size_t inline_limit() noexcept {
  return inline_limits[VM_MEM_INLINE_LANE / 32].load(std::memory_order_relaxed);
}

// Needs:  kBytes <= n <= 2 * kBytes. Both ends, overlapping; loaded before the first
// store.
template <std::size_t kBytes>
[[gnu::always_inline]] inline void copy_both_ends(std::byte* dst, const std::byte* src,
                                                  std::size_t n) noexcept {
  struct Piece {
    std::byte bytes[kBytes];
  };
  Piece head, tail;
  __builtin_memcpy(&head, src, kBytes);
  __builtin_memcpy(&tail, src + n - kBytes, kBytes);
  __builtin_memcpy(dst, &head, kBytes);
  __builtin_memcpy(dst + n - kBytes, &tail, kBytes);
}

// By overlapping pieces of constant size, so that a load of the bytes that follows at
// once is served from a store. Disjoint ranges, any n.
[[gnu::always_inline]] inline void copy_in_pieces(std::byte* dst, const std::byte* src,
                                                  std::size_t n) noexcept {
  if (n > 64) {
    for (std::size_t i = 0; i + 64 < n; i += 64) __builtin_memcpy(dst + i, src + i, 64);
    __builtin_memcpy(dst + n - 64, src + n - 64, 64);
  } else if (n > 32) {
    copy_both_ends<32>(dst, src, n);
  } else if (n > 16) {
    copy_both_ends<16>(dst, src, n);
  } else if (n >= 8) {
    copy_both_ends<8>(dst, src, n);
  } else if (n >= 4) {
    copy_both_ends<4>(dst, src, n);
  } else if (n >= 2) {
    copy_both_ends<2>(dst, src, n);
  } else if (n == 1) {
    *dst = *src;
  }
}

#if VM_MEM_INLINE_LANE == 64
// Whether to copy n bytes, within the limit, in line.
[[gnu::always_inline]] inline bool goes_in_line(std::size_t) noexcept { return true; }

// In a function of its own: callers need it where a copy ends near the end of a page.
[[gnu::noinline]] inline void copy_at_page_end(std::byte* dst, const std::byte* src,
                                               std::size_t n) noexcept {
  copy_in_pieces(dst, src, n);
}

[[gnu::always_inline]] inline bool a_window_leaves_its_page(const std::byte* a,
                                                            const std::byte* b) noexcept {
  const std::uintptr_t ends = ((reinterpret_cast<std::uintptr_t>(a) & 4095) + 63) |
                              ((reinterpret_cast<std::uintptr_t>(b) & 4095) + 63);
  return (ends & 4096) != 0;
}

// Needs:  n <= 64. One masked load and store, no branch on the size; away from the
// ends of pages, where masked accesses can be slow.
[[gnu::always_inline]] inline void copy_masked(std::byte* dst, const std::byte* src,
                                               std::size_t n) noexcept {
  if (a_window_leaves_its_page(dst, src)) [[unlikely]] {
    return copy_at_page_end(dst, src, n);
  }
  const __mmask64 first_bytes = _bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(n));
  _mm512_mask_storeu_epi8(dst, first_bytes, _mm512_maskz_loadu_epi8(first_bytes, src));
}

// Needs:  sizeof(Vector) < n <= 4 * sizeof(Vector). Vectors at 0, step, n - size - step and
// n - size: no branch on the size; up to two vectors the four coincide in pairs.
template <typename Vector>
[[gnu::always_inline]] inline void copy_four_vectors(std::byte* dst, const std::byte* src,
                                                     std::size_t n) noexcept {
  constexpr std::size_t kBytes = sizeof(Vector);
  const std::size_t step = ((n - 1) & (2 * kBytes)) / 2;
  const std::size_t last = n - kBytes;
  Vector a, b, c, d;
  __builtin_memcpy(&a, src, kBytes);
  __builtin_memcpy(&b, src + step, kBytes);
  __builtin_memcpy(&c, src + last - step, kBytes);
  __builtin_memcpy(&d, src + last, kBytes);
  __builtin_memcpy(dst, &a, kBytes);
  __builtin_memcpy(dst + step, &b, kBytes);
  __builtin_memcpy(dst + last - step, &c, kBytes);
  __builtin_memcpy(dst + last, &d, kBytes);
}

// Needs:  64 < n <= 256. A size that came four times in a row is foreseen, and below 129
// takes narrower vectors.
[[gnu::always_inline]] inline void copy_vectors(std::byte* dst, const std::byte* src,
                                                std::size_t n) noexcept {
  const std::uint32_t size = static_cast<std::uint8_t>(n);
  const std::uint32_t sizes = latest_sizes;
  if (sizes != size * 0x0101'0101u) {
    latest_sizes = sizes << 8 | size;
  } else if (n <= 128) [[likely]] {
    return copy_four_vectors<__m256i>(dst, src, n);
  }
  copy_four_vectors<__m512i>(dst, src, n);
}

// Disjoint ranges, any n.
[[gnu::always_inline]] inline void copy_in_line(std::byte* dst, const std::byte* src,
                                                std::size_t n) noexcept {
  if (__builtin_constant_p(n)) return copy_in_pieces(dst, src, n);
  if (n <= 64) [[likely]]
    return copy_masked(dst, src, n);
  n <= 256 ? copy_vectors(dst, src, n) : copy_in_pieces(dst, src, n);
}
#else
// Whether to copy n bytes, within the limit, in line: not small ones of a size that was
// not foreseen, which the rows of x86-64 copy without a branch on it.
[[gnu::always_inline]] inline bool goes_in_line(std::size_t n) noexcept {
#if defined(__x86_64__)
  return __builtin_constant_p(n) || n > 64 ||
         latest_sizes == static_cast<std::uint32_t>(n) * 0x0101'0101u;
#else
  return n <= kInlineCeiling;
#endif
}

// Disjoint ranges, any n.
[[gnu::always_inline]] inline void copy_in_line(std::byte* dst, const std::byte* src,
                                                std::size_t n) noexcept {
  copy_in_pieces(dst, src, n);
}
#endif

// The core, called: the default for plain memory. Where sizes repeat, bytes that are
// read back at once come from ordinary stores; where they vary, small copies do not
// branch on the size. Long ones take what the policy says for this CPU.
//
// Needs:   disjoint ranges.
// Returns: dst.
// Memory:  from CopyPolicy::stream_min on, as memcpy_stream.
[[gnu::always_inline]] inline void* memcpy_raw(void* dst, const void* src, std::size_t n) noexcept {
  copy_function.load(std::memory_order_relaxed)(static_cast<std::byte*>(dst),
                                                static_cast<const std::byte*>(src), n);
  return dst;
}

// The core with small copies in line: for bulk bytes whose sizes vary, and for sizes
// that the compiler knows, which become plain moves. In line up to inline_max, times 2
// or 4 in code compiled for AVX2 or AVX-512; above, as memcpy_raw. On x86-64, sizes up to
// 64 bytes that vary are copied in line in code compiled for AVX-512 alone.
//
// In code compiled for AVX-512, up to 64 bytes of a size that the compiler does not
// know go through a masked store, from which no load is served: bytes that are read
// back at once are better copied with memcpy_raw.
//
// Needs:  src.size() == dst.size(), disjoint. The compiler is told of the first, so
//         that it weighs no size that an array of known length cannot have.
[[gnu::always_inline]] inline void memcpy_adaptive(std::span<std::byte> dst,
                                                   std::span<const std::byte> src) noexcept {
  const std::size_t n = dst.size();
  if (n != src.size()) __builtin_unreachable();
  if (n <= inline_limit() && goes_in_line(n)) [[likely]]
    return copy_in_line(dst.data(), src.data(), n);
  memcpy_raw(dst.data(), src.data(), n);
}

// The same with the caller's own limit: from `vector_min` bytes on the called path.
// A limit above kInlineCeiling counts as that; where the limit is 0, nothing is
// copied in line.
[[gnu::always_inline]] inline void memcpy_adaptive_with_threshold(std::span<std::byte> dst,
                                                                  std::span<const std::byte> src,
                                                                  std::size_t vector_min) noexcept {
  const std::size_t n = dst.size();
  if (n != src.size()) __builtin_unreachable();
  if (n < vector_min && n <= kInlineCeiling && inline_limit() != 0) {
    return copy_in_line(dst.data(), src.data(), n);
  }
  memcpy_raw(dst.data(), src.data(), n);
}

}  // namespace VM_MEM_INLINE_ISA

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace vm_mem

#undef VM_MEM_INLINE_ISA
#undef VM_MEM_INLINE_LANE

#endif  // VM_MEM_INLINE_COPY_H_
