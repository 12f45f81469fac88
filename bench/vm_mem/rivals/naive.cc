// The loop that everybody writes first, byte by byte.

#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

void copy_bytes(std::byte* dst, const std::byte* src, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    dst[i] = src[i];
    asm volatile("" : : : "memory");  // or the compiler would make a memcpy of the loop
  }
}

const Rival kBytes("naive_bytes", copy_bytes, true);

}  // namespace
}  // namespace vm_bench
