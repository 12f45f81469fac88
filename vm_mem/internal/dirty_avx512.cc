// Loops over dirty marks for x86-64 with AVX-512: a word's marks are one register, and
// one masked store sets or clears any of them.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

VM_MEM_TARGET_BEGIN("bmi2,popcnt,avx2,avx512f,avx512bw,avx512dq,avx512vl")

// The numbers of up to this many bits are written without asking how many there are.
constexpr int kFewBits = 4;

VM_MEM_INLINE void flatten_few(std::uint64_t ones, std::uint32_t base, std::uint32_t* to) {
  for (int i = 0; i < kFewBits; ++i, ones &= ones - 1) {
    // The last bit stands in where none is left: what is written then is not counted.
    to[i] = base + static_cast<std::uint32_t>(__builtin_ctzll(ones | std::uint64_t{1} << 63));
  }
}

VM_MEM_INLINE void flatten_many(std::uint64_t ones, std::uint32_t base, std::uint32_t* to) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i numbers = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(base)), lanes);
#pragma GCC unroll 4
  for (int part = 0; part < 4; ++part, ones >>= 16) {
    const auto which = static_cast<__mmask16>(ones);
    // Compressed in a register: a compressing store is a slow one on Zen.
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(which, numbers));
    to += __builtin_popcount(which);
    numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16));
  }
}

struct Block {
  VM_MEM_INLINE static std::uint64_t find(const std::byte* p) {
    const __m512i marks = _mm512_loadu_si512(p);
    return _mm512_test_epi8_mask(marks, _mm512_set1_epi8(kMarkDirty));
  }
  VM_MEM_INLINE static void set(std::byte* p, std::uint64_t which) {
    _mm512_mask_storeu_epi8(p, which, _mm512_set1_epi8(1));
  }
  VM_MEM_INLINE static void clear(std::byte* p, std::uint64_t which) {
    _mm512_mask_storeu_epi8(p, which, _mm512_setzero_si512());
  }
  VM_MEM_INLINE static void flatten(std::uint64_t ones, std::uint32_t base, std::uint32_t* to) {
    __builtin_popcountll(ones) <= kFewBits ? flatten_few(ones, base, to)
                                           : flatten_many(ones, base, to);
  }
};

#include "vm_mem/internal/dirty_shapes.inc"

// A group is looked at as a whole, so that how the marks lie within it cannot be
// mispredicted. A masked store that stores nothing would be slow on a page of the log
// that was never written; a group with a mark in it lies on one that was.
VM_MEM_KERNEL std::uint64_t collect_groups(std::byte* marks, std::uint64_t* words,
                                           std::size_t word_count) {
  constexpr std::size_t kGroupBytes = kWordGroup * kMarksPerWord;
  const __m512i zero = _mm512_setzero_si512();
  const __m512i dirty = _mm512_set1_epi8(kMarkDirty);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < word_count; i += kWordGroup, marks += kGroupBytes) {
    __m512i lanes[kWordGroup];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kWordGroup; ++k) {
      lanes[k] = _mm512_loadu_si512(marks + k * kMarksPerWord);
    }
    const __m512i any =
        _mm512_or_si512(_mm512_or_si512(lanes[0], lanes[1]), _mm512_or_si512(lanes[2], lanes[3]));
    if (_mm512_test_epi64_mask(any, dirty) == 0) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(&words[i]), _mm256_setzero_si256());
      continue;
    }
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kWordGroup; ++k) {
      const __mmask64 found = _mm512_test_epi8_mask(lanes[k], dirty);
      _mm512_mask_storeu_epi8(marks + k * kMarksPerWord, found, zero);
      words[i + k] = found;
      total += ones_in(found);
    }
  }
  return total;
}

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().avx512; }

constexpr DirtyKernels make_grouped_row() {
  DirtyKernels row = make_row("avx512", supported_here);
  row.collect = collect_groups;
  return row;
}

}  // namespace

constinit const DirtyKernels kAvx512DirtyKernels = make_grouped_row();

}  // namespace vm_mem::internal
