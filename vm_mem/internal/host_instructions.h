// Single instructions of the host that C++ has no name for.
#ifndef VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_
#define VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_

#include <cstddef>

namespace vm_mem::internal {

// Orders every earlier store of this thread, streaming ones too, before any later.
void store_fence();

// Whether this CPU copies with one instruction (`rep movsb`) at a useful speed.
bool has_string_copy();

// Need, all three:  has_string_copy(); disjoint ranges.
// Promises nothing about words: not for guest memory.
void string_copy(std::byte* dst, const std::byte* src, std::size_t n) noexcept;
// Need:    dst and src (dst alone) at multiples of 8. Each word is one element of the
//          string, and so never torn.
// Source:  Intel SDM vol. 3, 9.1.1 (aligned quadwords) and 9.2.4 (fast strings reorder
//          elements, not parts of one).
void string_copy_words(std::byte* dst, const std::byte* src, std::size_t words) noexcept;
void string_fill(std::byte* dst, std::byte value, std::size_t n) noexcept;  // n % 8 == 0

// The last two for memory that may fault: how many words, or bytes, at the beginning are
// done.
std::size_t string_copy_words_or_fault(std::byte* dst, const std::byte* src,
                                       std::size_t words) noexcept;
std::size_t string_fill_or_fault(std::byte* dst, std::byte value, std::size_t n) noexcept;

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_INSTRUCTIONS_H_
