// Typed access to host memory that may fail: each false where the host failed, with
// nothing written. One instruction, or on AArch64 one exclusive pair, does the access.
//
// Needs, all of them:  1, 2, 4 or 8 bytes, naturally aligned.
// Memory:  as the C++ operation of that order, an order that a load (a store) cannot
//          have being the strongest; read-modify-writes are sequentially consistent.
#ifndef VM_MEM_INTERNAL_RECOVERABLE_ATOMICS_H_
#define VM_MEM_INTERNAL_RECOVERABLE_ATOMICS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/word_access.h"

namespace vm_mem::internal {

bool load_or_fault(const std::byte* from, unsigned bytes, std::uint64_t& bits,
                   std::memory_order order);
bool store_or_fault(std::byte* to, unsigned bytes, std::uint64_t bits, std::memory_order order);
bool modify_or_fault(std::byte* at, unsigned bytes, WordOperation operation, std::uint64_t operand,
                     std::uint64_t& previous);
// `expected` becomes the value that was found, except on a fault.
bool compare_exchange_or_fault(std::byte* at, unsigned bytes, std::uint64_t& expected,
                               std::uint64_t desired, bool& exchanged);

// The value that `operation` makes of `value`.
constexpr std::uint64_t apply(WordOperation operation, std::uint64_t value, std::uint64_t operand) {
  switch (operation) {
    case WordOperation::kAdd: return value + operand;
    case WordOperation::kOr: return value | operand;
    case WordOperation::kAnd: return value & operand;
    case WordOperation::kXor: return value ^ operand;
    case WordOperation::kExchange: break;
  }
  return operand;
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RECOVERABLE_ATOMICS_H_
