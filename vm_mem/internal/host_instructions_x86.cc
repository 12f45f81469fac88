#include <cstdint>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/recoverable_asm.h"

namespace vm_mem::internal {

void store_fence() { __asm__ volatile("sfence" ::: "memory"); }

bool has_string_copy() { return cpu_features().fast_rep_movsb; }

void string_copy(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

void string_copy_words(std::byte* dst, const std::byte* src, std::size_t words) noexcept {
  __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(words) : : "memory");
}

void string_fill(std::byte* dst, std::byte value, std::size_t n) noexcept {
  const std::uint64_t word = 0x0101'0101'0101'0101u * static_cast<std::uint64_t>(value);
  std::size_t words = n / sizeof(word);
  __asm__ volatile("rep stosq" : "+D"(dst), "+c"(words) : "a"(word) : "memory");
}

// A string that faults says in rcx how many of its elements are left.
std::size_t string_copy_words_or_fault(std::byte* dst, const std::byte* src,
                                       std::size_t words) noexcept {
  std::size_t left = words;
  __asm__ volatile(VM_MEM_CAN_FAULT_TO_2("rep movsq") "2:"
                   : "+D"(dst), "+S"(src), "+c"(left)
                   :
                   : "memory");
  return words - left;
}

std::size_t string_fill_or_fault(std::byte* dst, std::byte value, std::size_t n) noexcept {
  const std::uint64_t word = 0x0101'0101'0101'0101u * static_cast<std::uint64_t>(value);
  std::size_t left = n / sizeof(word);
  __asm__ volatile(VM_MEM_CAN_FAULT_TO_2("rep stosq") "2:"
                   : "+D"(dst), "+c"(left)
                   : "a"(word)
                   : "memory");
  return n - left * sizeof(word);
}

}  // namespace vm_mem::internal
