// Prints what the copy core made of its environment. startup_test runs it.

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

#include "vm_mem/simd_memcpy.h"

int main() {
  std::array<std::byte, 100> src;
  std::array<std::byte, 100> dst{};
  src.fill(std::byte{7});
  vm_mem::memcpy_adaptive(dst, src);
  const bool copied = std::memcmp(dst.data(), src.data(), src.size()) == 0;
  std::printf("isa=%s\n", std::string(vm_mem::active_isa()).c_str());
  std::printf("vector_width=%zu\n", vm_mem::copy_policy().vector_width);
  std::printf("stream_min=%zu\n", vm_mem::copy_policy().stream_min);
  std::printf("inline_limit=%zu\n", vm_mem::inline_limits[0].load());
  std::printf("copied=%d\n", copied ? 1 : 0);
  std::printf("status=%s\n", vm_mem::startup_status().ToString().c_str());
  return 0;
}
