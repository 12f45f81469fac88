// What each object of inline_copy_test made of the same inline functions.
#ifndef TESTS_VM_MEM_INLINE_COPY_PART_H_
#define TESTS_VM_MEM_INLINE_COPY_PART_H_

#include <array>
#include <cstddef>
#include <span>

#include "vm_mem/inline_copy.h"

namespace vm_test {

struct Packet {
  std::size_t bytes = 0;
  std::array<std::byte, 64> payload{};
};

struct InlineCopyPart {
  void (*adaptive)(std::span<std::byte> dst, std::span<const std::byte> src) noexcept;
  void (*copy_in_line)(std::byte* dst, const std::byte* src, std::size_t n) noexcept;
  void (*fill_packet)(Packet& packet, std::span<const std::byte> payload);
};

InlineCopyPart baseline_part();
InlineCopyPart avx2_part();    // run only where the CPU has it
InlineCopyPart avx512_part();  // the same

}  // namespace vm_test

#endif  // TESTS_VM_MEM_INLINE_COPY_PART_H_
