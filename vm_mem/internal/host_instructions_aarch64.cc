#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/host_instructions.h"

namespace vm_mem::internal {

void store_fence() { __asm__ volatile("dmb ishst" ::: "memory"); }

// FEAT_MOPS has such instructions; they are not used here, and policies that would
// are refused.
bool has_string_copy() { return false; }

void string_copy(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  kNeonKernels.move(dst, src, n);
}
void string_copy_words(std::byte* dst, const std::byte* src, std::size_t words) noexcept {
  kNeonKernels.move(dst, src, words * 8);
}
void string_fill(std::byte* dst, std::byte value, std::size_t n) noexcept {
  kNeonKernels.set(dst, value, n);
}
std::size_t string_copy_words_or_fault(std::byte* dst, const std::byte* src,
                                       std::size_t words) noexcept {
  return kNeonKernels.recoverable.copy_words(dst, src, words * 8) / 8;
}
std::size_t string_fill_or_fault(std::byte* dst, std::byte value, std::size_t n) noexcept {
  return kNeonKernels.recoverable.set(dst, value, n);
}

}  // namespace vm_mem::internal
