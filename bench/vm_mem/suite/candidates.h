// The copies that the suite measures, in the form that the loops expand.
#ifndef BENCH_VM_MEM_SUITE_CANDIDATES_H_
#define BENCH_VM_MEM_SUITE_CANDIDATES_H_

#include <cstddef>
#include <cstring>
#include <span>

#include "bench/harness/copy_loops.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {

// The call that a program's memcpy becomes where its size is not known to the compiler.
// Instances with different numbers are different code that does the same: libc against
// itself.
template <int kInstance>
struct Libc {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    std::memcpy(dst, src, n);
    asm volatile("" : : "i"(kInstance));  // or the compiler would merge the instances
  }
};

struct Raw {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    vm_mem::memcpy_raw(dst, src, n);
  }
};

struct Adaptive {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    vm_mem::memcpy_adaptive({dst, n}, {src, n});
  }
};

struct Stream {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    vm_mem::memcpy_stream(dst, src, n);
  }
};

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_CANDIDATES_H_
