// The loops of the textbook: one unaligned load and one store of a vector per step, the
// rest byte by byte.

#include <immintrin.h>

#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

void copy_rest(std::byte* dst, const std::byte* src, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    dst[i] = src[i];
    asm volatile("" : : : "memory");
  }
}

void copy_sse2(std::byte* dst, const std::byte* src, std::size_t n) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i)));
  }
  copy_rest(dst, src, i, n);
}

[[gnu::target("avx2")]] void copy_avx2(std::byte* dst, const std::byte* src, std::size_t n) {
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i)));
  }
  copy_rest(dst, src, i, n);
}

[[gnu::target("avx512f")]] void copy_avx512(std::byte* dst, const std::byte* src, std::size_t n) {
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(dst + i, _mm512_loadu_si512(src + i));
  copy_rest(dst, src, i, n);
}

const Rival kSse2("naive_sse2", copy_sse2, true);
const Rival kAvx2("naive_avx2", copy_avx2, __builtin_cpu_supports("avx2") != 0);
const Rival kAvx512("naive_avx512", copy_avx512, __builtin_cpu_supports("avx512f") != 0);

}  // namespace
}  // namespace vm_bench
